# The bot's words in English. Every catalogue has exactly these keys; see docs/how-to/add-language.md.
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

decimal = .
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
band-held = So far it held { $held } % ({ $scored ->
    [one] one scored prediction
   *[other] { $scored } scored predictions
 }).
no-signal = No direction is claimed{ $reason }.
event = Posts like this one were followed by { $times } × the usual { $outcome ->
    [volume] volume
   *[other] volatility
 } for { $minutes } minutes: { $held } of { $n }.
matches = After the { $matches } most similar past posts ({ $windows } independent windows) the price moved { $end } on average; usual { $usual }.
control = After as many random windows of the same hours and volatility: { $end }.
paths-none = Prices: no similar past post whose outcome was known at that time.
explanation = Posts like this one say: { $words }
typical = A typical post among them: “{ $words }”
note = Note: { $words }
note-forwarded = The original's time has no prices here; read as posted now.
note-album = An album of { $count } pictures: the first was read.
note-unseen =
    { $what ->
        [video] The words were read; the video was not looked at.
        [audio] The words were read; the recording was not listened to.
       *[file] The words were read; the file was not looked at.
    }
edited = I have read the post as it was first sent. Send it again to have the changed one read.

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
reason-no-author = neither its author nor its channel is known
reason-short-author-history = of its author only { $count } earlier posts with known likes are here; { $least } are needed
reason-short-channel-history = of its channel only { $count } earlier posts with known likes are here; { $least } are needed
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
reason-explanation-not-asked = posts that nobody waits for get no explanation in words
reason-explanation-far = the words found for the matched posts do not lead back to them, so they are not shown
reason-explanation-clumsy = the words found for the matched posts make no sound sentence, so they are not shown
reason-explanation-direction = the words found say a direction that the facts do not, so they are not shown
reason-explanation-numbers = the words found have a number that the facts lack, so they are not shown
reason-explanation-names = the words found have a name that the facts lack, so they are not shown
reason-explanation-empty = no words were found for the matched posts
reason-explanation-no-text = the words of the matched posts are not kept here, so none of them can be shown as typical
reason-queue-away = the queue cannot be reached now; try again in a moment
reason-no-explainer = no worker explained the chart within { $seconds } s; try again in a moment
reason-chart-broken = this chart could not be explained; the details stand in the worker's log
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
reason-match-both = give a text or a series, not both
reason-match-nothing = give a text, a series, or a market
reason-window-incomplete = the { $minutes } minutes of { $symbol } before { $at } are not all there
reason-series-length = a series needs { $least } to { $most } prices; this one has { $count }
reason-series-not-positive = a series is made of prices, all of them above zero
reason-series-not-numbers = the series is no JSON list of numbers
reason-series-not-price = “{ $text }” is no price; give one number a line, or a JSON list
reason-queue-full = the queue has { $count } posts waiting; try again in about { $seconds } s
reason-own-queue-full = you have { $count } posts waiting; try again in about { $seconds } s
reason-no-answer-yet = no answer within { $seconds } s; the post is kept, ask again in a moment
reason-no-verdict = the answer does not come; the post is kept, send it again later
reason-stopping = this process is stopping; the post is kept, ask again in a moment
reason-cancelled = the reading of this post was cancelled; send it again if you still want an answer
reason-post-unknown = there is no post of that id; send it to /v1/analyze
reason-post-not-waiting = this post does not wait any more: it is being read, or has its answer
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
chart-change = price change in percent, by minutes after the post
chart-band = { $coverage } % band
chart-median = median
chart-matches = similar posts
chart-control = random windows
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

# The page. Keys that begin with page-js- are filled in by its scripts.
page-title = moodtape – the mood of posts against the price tape
page-skip = Skip to the answer
page-banner = synthetic demo feed – prices and posts of the live lists are invented by the program
page-banner-label = Which feed plays
page-tagline = the mood of a post, and what prices did after posts like it
page-ask = Read a post
page-drop = Drop a photo here
page-js-drop-more = or choose one, or paste it
page-preview = The photo you chose
page-remove = Remove the photo
page-caption = Caption
page-caption-hint = What does the post say?
page-market = Market
page-optional = optional
page-market-hint = else the one the words name
page-time = Time in UTC
page-key = API key
page-send = Read the mood
page-rescoring = Rescoring
page-live = Newest posts of the feed
page-js-connecting = connecting …
page-no-post = No post has been read yet.
page-answer = The answer
page-nothing = Nothing read yet. A photo, a caption, or both will do.
page-example = Try an example
page-tape = The tape
page-no-candle = No candle has come in yet.
page-past = Past posts and their prices say little about the next one.
page-api = HTTP API
page-health = health
page-noscript = This page needs JavaScript; the HTTP API works without it: see the README.
page-language = Language
page-js-reading = Reading the post …
page-js-reading-long = Still reading; the queue may be long. It goes on by itself.
page-js-needs-key = This door asks for an API key; enter it above.
page-js-reference = reference { $id }
page-js-photo-size = That photo has more than 20 MB; choose a smaller one.
page-js-both-empty = Send a photo or a caption; both are empty.
page-js-well = all services well
page-js-away = moodtape does not answer. Is it still running? Try again in a moment.
page-js-status = The door answered { $status }.
page-js-a-picture = (a picture)
page-js-show = show
page-js-no-mood = no mood claimed
page-js-hype = hype { $chance }
page-js-is-live = live
page-js-key-needed = needs the API key
page-js-interrupted = interrupted, trying again …
page-js-close = { $exchange }, close { $close } at { $at }
page-js-tape-label = { $symbol }, last { $count } minutes: from { $first } to { $last }
page-js-run = run { $run }, { $state }
page-js-end-run = End run { $run }? The verdicts it has made stay.
page-js-run-text = { $done } of { $total } posts by revision { $revision }, { $rate } posts/s
page-js-left = { $text }, about { $span } left
page-js-emotions = Emotions
page-js-after = { $symbol } after this post, and what it did after similar posts
page-js-prices = Prices after similar posts
page-js-in-words = In words
page-js-together = together
page-js-words = words
page-js-picture = picture
page-js-words-alone = words alone
page-js-picture-alone = picture alone
page-js-for = for: { $share } of the weight
page-js-against = against: { $share } of the weight
page-js-chips = Words for (+) and against (−) { $label }
page-js-differ = The words say { $text }, the picture { $image }.
page-js-matched = Matched posts: { $count }
page-js-source = source
page-js-posted = posted
page-js-market = market
page-js-similarity = similarity
page-js-price-then = price then
page-js-models = models { $revision }, trained on data until { $until }
page-js-notes = Notes
page-js-chart = { $symbol } in { $minutes } minutes: { $low } to { $high }, median { $median }. Arrow keys read single minutes.
page-js-minute = after { $minute } min: median { $median }, band { $low } to { $high }
page-js-minutes = minutes after the post
page-js-median = median
page-js-band = band meant to hold { $coverage } % of outcomes
page-js-control = random windows of the same hours and volatility
page-js-match = after similar posts
page-mood = Mood
page-hype = Hype
page-none = none claimed
page-no-forecast = no forecast
page-sure = { $certainty } % sure.
page-price = { $symbol } after { $minutes } min
page-price-none = Price
page-no-matches = no matches
