// Mood of pictures by @vladmandic/face-api on TensorFlow.js' WebAssembly: node peer_face_api.cjs MODULES FOLDER FEW
// FOLDER holds shapes.json ([[height, width], …]) and pictures.bin (RGB bytes, one picture after the other);
// the first FEW of them go through the detector.
const fs = require('fs');
const path = require('path');
const [modules, folder, few] = process.argv.slice(2);
const from = require('module').createRequire(path.resolve(modules, 'package.json'));
const tf = from('@tensorflow/tfjs');
const wasm = from('@tensorflow/tfjs-backend-wasm');
const root = path.resolve(modules, 'node_modules');
const home = path.join(root, '@vladmandic/face-api');
const api = from('@vladmandic/face-api/dist/face-api.node-wasm.js');
const names = { angry: 'anger', happy: 'joy', sad: 'sadness', fearful: 'fear', disgusted: 'disgust', surprised: 'surprise' };

function label(moods) {
  const [best] = Object.entries(moods).sort((a, b) => b[1] - a[1])[0];
  return names[best] || best;
}

// The library's own expression net on the picture as the face.
async function told(picture) {
  return label(await api.nets.faceExpressionNet.predictExpressions(picture));
}

// The README's way: SSD detector, landmarks to level the face, expressions; the largest face speaks.
async function found(picture) {
  const faces = await api.detectAllFaces(picture, new api.SsdMobilenetv1Options()).withFaceLandmarks().withFaceExpressions();
  if (!faces.length) return null;
  faces.sort((a, b) => b.detection.box.area - a.detection.box.area);
  return label(faces[0].expressions);
}

async function run(read, pictures) {
  const guesses = [];
  const started = performance.now();
  for (const { shape, bytes } of pictures) {
    const picture = tf.tensor3d(bytes, [...shape, 3], 'int32');
    guesses.push(await read(picture));
    picture.dispose();
  }
  return { guesses, seconds: (performance.now() - started) / 1000 };
}

async function main() {
  wasm.setWasmPaths(path.join(root, '@tensorflow/tfjs-backend-wasm/dist/'));
  await tf.setBackend('wasm');
  await tf.ready();
  for (const net of ['ssdMobilenetv1', 'faceLandmark68Net', 'faceExpressionNet']) await api.nets[net].loadFromDisk(path.join(home, 'model'));
  const all = fs.readFileSync(path.join(folder, 'pictures.bin'));
  let start = 0;
  const pictures = JSON.parse(fs.readFileSync(path.join(folder, 'shapes.json'))).map((shape) => {
    const bytes = Int32Array.from(all.subarray(start, start + shape[0] * shape[1] * 3));
    start += bytes.length;
    return { shape, bytes };
  });
  await run(found, pictures.slice(0, 1));
  const kinds = { told: await run(told, pictures), found: await run(found, pictures.slice(0, Number(few))) };
  console.log(JSON.stringify({ kinds, versions: { 'face-api': api.version, tfjs: tf.version_core } }));
}

main().catch((error) => { console.error(String(error)); process.exit(1); });
