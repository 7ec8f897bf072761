# The bot's words in English. Every catalogue has exactly these keys; see docs/how-to/add-bot-language.md.
language = English

start =
    moodtape reads the mood of a post against the price tape
    Send a picture with a caption, a picture, or words; or forward a post. You get the mood, a hype forecast, and what prices did after similar posts.
    /help says more, /privacy what is kept. Not financial advice.
help =
    What you can send
    A picture with a caption, a picture alone, or words alone. An album counts as one post: its first picture and its caption. Pictures up to { $megabytes } MB, also as files.
    Name a coin ($BTC, #ethereum, Doge) to choose the market; without one it is BTC/USDT.
    A forwarded post is read as of the time it was first posted.
    /last – the last answer again
    /language – choose the language
    /privacy – what is kept
    /forget_me – delete everything of yours
privacy =
    What is kept
    Your post (words and picture, without the picture's hidden data), its answer, and what you say of it. Instead of your name or number stands a keyed hash. Messages are emptied once they are answered; the chat's number is kept with its language.
    Nothing is passed on. /forget_me deletes all of it at once.
language-choose = Which language?
language-set = From now on in English.
forgotten =
    { $posts ->
        [0] There was nothing of yours left; your settings are deleted too.
        [one] Forgotten: one post, and everything with it.
       *[other] Forgotten: { $posts } posts, and everything with them.
    }
no-last = There is no answer yet. Send a post first.
reading = Reading your post …
late = Still reading. The answer will take this message's place.
interrupted = I was interrupted while sending an answer. If you do not see it above, /last shows it.
interrupted-early = I was interrupted while answering. If you do not see an answer above, please send it again.
synthetic = Synthetic demo feed: the prices are made up.
not-advice = Not financial advice.

button-right = Right
button-wrong = Wrong
thanks = Thank you, noted.
feedback-gone = That answer is no longer kept.

emotion-sadness = sadness
emotion-joy = joy
emotion-fear = fear
emotion-anger = anger
emotion-surprise = surprise
emotion-neutral = neutral
emotion-disgust = disgust

mood = Mood: { $label }, { $certainty } % sure
mood-none = Mood: none is claimed{ $reason }.
mood-text = The words lean to { $label }.
mood-image = The picture leans to { $label }.
mood-text-alone = From the words alone.
mood-image-alone = From the picture alone.
mood-words = Above all { $words }.
faces =
    { $count ->
        [one] One face found.
       *[other] { $count } faces found.
    }
hype = Hype: { $chance } % chance of unusually high activity within { $hours } hours.
hype-usual = Usual: { $rate } %.
hype-weak = Weak{ $reason }.
hype-none = Hype: no forecast{ $reason }.
band = { $symbol } after { $minutes } minutes: { $low } to { $high } ({ $coverage } % band), median { $median }.
no-signal = No direction is claimed{ $reason }.
event = Posts like this one were followed by { $times } × the usual { $outcome ->
    [volume] volume
   *[other] volatility
 } for { $minutes } minutes: { $held } of { $n }.
matches = After the { $matches } most similar past posts ({ $windows } independent windows) the price moved { $end } on average; usual { $usual }.
control = After as many random posts: { $end }.
paths-none = Prices: no similar past post whose outcome was known at that time.
explanation = Posts like this one say: { $words }
note = Note: { $words }
note-forwarded = The original's time has no prices here; read as posted now.
note-album = An album of { $count } pictures: the first was read.

# Why something is, or is not, in an answer: one clause a code of domain/reasons.py, fit for the middle of a sentence.
reason-no-words = the text has no words or emoji to read
reason-foreign = the text seems to be { $language }; only English is read
reason-unsure = unsure between { $first } and { $second }
reason-no-face = no face found in the picture
reason-nothing-readable = there is neither text nor a picture with a readable mood
reason-both = { $text }; { $picture }
reason-no-market-history = there are no candles of this market before the post
reason-few-candles = there are not enough candles in the 256 minutes before the post
reason-few-windows = only { $count } of the { $windows } windows before the post have enough candles; { $least } are needed
reason-no-trade = nothing was traded in the windows before the post
reason-no-better-than-persistence = on its latest test the model did no better than assuming that things go on as they are
reason-no-post-hype = what a single post adds is not forecast by this generation of models
reason-signal-not-earned = in the latest walk-forward the band beats the week before by { $crps } % (at least { $crps_low } %), but words add { $words } % over exchanged words ({ $words_low } to { $words_high } %)
reason-signal-earned = in the latest walk-forward the band beats the week before by { $crps } % (at least { $crps_low } %), and words add { $words } % over exchanged words ({ $words_low } to { $words_high } %)
reason-signal-untested = no test has shown that similar posts tell where the price goes
reason-older-band = an earlier version made this band: it was widened to hold the matches' mean, and its middle stands for the median
reason-no-coin = no coin is named in the post; { $symbol } is assumed
reason-no-candles = there are no candles of { $symbol } in the 256 minutes before the post
reason-no-picture = the picture of this post is no longer stored; only its words were read
reason-no-past = no past window had ended before this post; there are no trajectories to match
reason-width-of-symbol = too few candles of { $symbol } before the post: the band's width comes from its past windows
reason-width-of-all = too few candles of { $symbol } before the post: the band's width comes from the past windows of all markets
reason-stale-tape = the newest candle of { $symbol } is more than an hour old: the band is drawn wider
reason-gapped-tape = a fifth or more of the day’s candles of { $symbol } are missing: the band is drawn wider
reason-no-window = no past window of { $symbol } is in the library yet: matched over all markets, their moves scaled to its volatility
reason-newest-windows = the post has no words to match: the newest windows stand in
reason-no-explanation = no explanation in words: it is not part of this generation of models
reason-empty-post = there is neither text nor a picture to read: send text or a picture
reason-nothing-left = this post has neither words nor a picture that could be read: send text or a picture
reason-text-too-long = the text has { $count } characters, and at most { $most } are read: send a shorter one
reason-picture-empty = the picture is an empty file (0 bytes): send a JPEG, PNG, WebP, GIF or HEIC
reason-picture-bytes = the picture has { $megabytes } MB; image too large (max { $most } MB): send a smaller one
reason-picture-pixels = the picture has { $width } × { $height } pixels; image too large (max { $most } Mpx): send a smaller one
reason-picture-huge = the picture has far too many pixels; image too large (max { $most } Mpx): send a smaller one
reason-picture-broken = the picture is broken or cut off and cannot be decoded: send a JPEG, PNG, WebP, GIF or HEIC
reason-not-a-picture = that file is { $kind }, not a picture that can be read: send a JPEG, PNG, WebP, GIF or HEIC
reason-picture-not-taken = that file is a { $name } picture of a kind that is not taken, or cut off: send a JPEG, PNG, WebP, GIF or HEIC
reason-file-of-type = that file is a file of type { $name }, not a picture that can be read: send a JPEG, PNG, WebP, GIF or HEIC
reason-upload-too-large = the upload is too large; image too large (max { $most } MB): send a smaller one
reason-file-too-big = this file is too big: Telegram lets bots fetch { $megabytes } MB; send a smaller one
reason-unsupported = this kind of message cannot be read: send text or a picture
reason-not-a-market = “{ $text }” is not a market name; write it like BTC/USDT
reason-market-unsettled = “{ $text }” does not say what it settles in; write it like BTC/USDT:USDT or BTC/USD:BTC
reason-market-ambiguous = “{ $text }” may be one of { $readings }; write it with a slash, like { $first }
reason-coin-unknown = “{ $text }”: no coin of that name is known, so it is not split; write it like BTC/USDT
reason-market-unknown = there is no market { $symbol } here; known here: { $known }
reason-no-market-known = there is no market { $symbol } here: no candle of it has come in
reason-not-a-time = “{ $text }” is not a time; write it like 2021-05-19T12:00Z
reason-time-in-future = the time { $at } lies in the future; give a past one, or none for now
reason-time-too-early = no market has prices from { $at }; give a later time
reason-no-candles-then = there are no candles of { $symbol } in the { $minutes } minutes before { $at }; choose another time or market, or leave the time out for now
reason-queue-full = the queue has { $count } posts waiting; try again in about { $seconds } s
reason-own-queue-full = you have { $count } posts waiting; try again in about { $seconds } s
reason-no-answer-yet = no answer within { $seconds } s; the post is kept, ask again in a moment
reason-no-verdict = the answer does not come; the post is kept, send it again later
reason-stopping = this process is stopping; the post is kept, ask again in a moment
reason-cancelled = the reading of this post was cancelled; send it again if you still want an answer
reason-not-scored = this post could not be scored; it is kept, and the details stand in the worker's log
reason-ended-worker = scoring this post ended the worker several times over, so it is not tried again
reason-worded = { $text }
reason-unknown = for a reason that this version does not know ({ $code })

kind-html = a web page (HTML)
kind-svg = an SVG drawing
kind-video = a video
kind-audio = a sound
kind-text = plain text
kind-other = something else

language-en = English
language-es = Spanish
language-pt = Portuguese
language-fr = French
language-de = German
language-it = Italian
language-nl = Dutch
language-tr = Turkish
language-id = Indonesian
language-pl = Polish
language-ru = Russian
language-uk = Ukrainian
language-ar = Arabic
language-fa = Persian
language-hi = Hindi
language-ja = Japanese
language-ko = Korean
language-zh = Chinese
language-vi = Vietnamese
language-th = Thai

chart-mood = mood: { $label }, { $certainty } %
chart-no-mood = no mood claimed
chart-change = price change, percent
chart-minutes = minutes after the post
chart-band = { $coverage } % band
chart-median = median
chart-matches = similar posts
chart-control = random posts
chart-no-paths = No price trajectories
chart-moods = mood, percent
chart-words = words
chart-picture = picture
chart-windows = { $windows } independent windows
chart-models = models { $revision }, trained on data until { $until }

error = { $reason }.
error-bad-input = That cannot be used: send text or a picture. ({ $id })
error-unavailable = The answer cannot be worked out at the moment. Please send it again later. ({ $id })
error-internal = Something went wrong here, and it has been noted. Please try again later. ({ $id })

command-start = What this bot does
command-help = What you can send
command-last = The last answer again
command-language = Choose the language
command-privacy = What is kept
command-forget-me = Delete everything of yours
command-rescore = How rescoring stands

rescore =
    Rescoring: run { $run }, { $state }
    { $bar } { $percent } %
    { $done } of { $total } posts, revision { $revision }, { $rate } posts/s
rescore-left =
    { $minutes ->
        [0] About { $seconds } s left.
        [one] About one minute left.
       *[other] About { $minutes } minutes left.
    }
rescore-none = There is no rescore run. “moodtape rescore” on the server starts one.
rescore-cannot = That cannot be done: the run is { $state }.
state-running = running
state-paused = paused
state-done = done
state-cancelled = cancelled
steer-pause = Pause
steer-resume = Resume
steer-cancel = Cancel
