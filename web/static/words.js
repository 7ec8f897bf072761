// The page's words in its reader's language; the server puts them into the page.

const words = new Map([...document.querySelectorAll("#words dt")].map((key) => [key.textContent, key.nextElementSibling.textContent]));

export const language = document.documentElement.lang;

export function say(key, values = {}) {
  return words.get(key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const emotion = (label) => say(`emotion-${label}`);
