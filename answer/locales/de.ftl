# Die Worte des Bots auf Deutsch.
language = Deutsch

start =
    moodtape liest die Stimmung eines Beitrags neben den Kursen
    Schick ein Bild mit Text, nur ein Bild oder nur Text, oder leite einen Beitrag weiter. Du bekommst die Stimmung, eine Hype-Vorhersage und was die Kurse nach ähnlichen Beiträgen taten.
    /help sagt mehr, /privacy, was gespeichert wird. Keine Anlageberatung.
help =
    Was du schicken kannst
    Ein Bild mit Text, nur ein Bild oder nur Text. Ein Album zählt als ein Beitrag: sein erstes Bild und sein Text. Bilder bis { $megabytes } MB, auch als Datei.
    Nenne eine Münze ($BTC, #ethereum, Doge), um den Markt zu wählen; sonst gilt BTC/USDT.
    Ein weitergeleiteter Beitrag wird zum Zeitpunkt seiner ersten Veröffentlichung gelesen.
    /last – die letzte Antwort noch einmal
    /language – Sprache wählen
    /privacy – was gespeichert wird
    /forget_me – alles von dir löschen
privacy =
    Was gespeichert wird
    Dein Beitrag (Text und Bild, ohne die versteckten Daten des Bildes), seine Antwort und was du dazu sagst. Statt Name oder Nummer steht ein verschlüsselter Hash. Nachrichten werden geleert, sobald sie beantwortet sind; die Nummer des Chats bleibt mit seiner Sprache.
    Nichts wird weitergegeben. /forget_me löscht alles sofort.
language-choose = Welche Sprache?
language-set = Ab jetzt auf Deutsch.
forgotten =
    { $posts ->
        [0] Von dir war nichts mehr da; auch deine Einstellungen sind gelöscht.
        [one] Vergessen: ein Beitrag und alles dazu.
       *[other] Vergessen: { $posts } Beiträge und alles dazu.
    }
no-last = Es gibt noch keine Antwort. Schick zuerst einen Beitrag.
reading = Ich lese deinen Beitrag …
late = Ich lese noch. Die Antwort erscheint an dieser Stelle.
interrupted = Ich wurde beim Senden einer Antwort unterbrochen. Siehst du sie oben nicht, zeigt /last sie.
interrupted-early = Ich wurde beim Antworten unterbrochen. Siehst du oben keine Antwort, schick es bitte noch einmal.
synthetic = Synthetische Vorführdaten: Die Kurse sind erfunden.
not-advice = Keine Anlageberatung.

button-right = Richtig
button-wrong = Falsch
thanks = Danke, notiert.
feedback-gone = Diese Antwort ist nicht mehr gespeichert.

emotion-sadness = Trauer
emotion-joy = Freude
emotion-fear = Angst
emotion-anger = Wut
emotion-surprise = Überraschung
emotion-neutral = neutral
emotion-disgust = Ekel

decimal = ,
mood = Stimmung: { $label }, { $certainty } % sicher
mood-none = Stimmung: keine eindeutig{ $reason }.
mood-text = Die Worte neigen zu { $label }.
mood-image = Das Bild neigt zu { $label }.
mood-text-alone = Nur aus den Worten.
mood-image-alone = Nur aus dem Bild.
mood-words = Vor allem { $words }.
faces =
    { $count ->
        [one] Ein Gesicht gefunden.
       *[other] { $count } Gesichter gefunden.
    }
hype = Hype: { $chance } % Wahrscheinlichkeit ungewöhnlich hoher Aktivität binnen { $hours } Stunden.
hype-usual = Üblich: { $rate } %.
hype-weak = Schwach{ $reason }.
hype-none = Hype: keine Vorhersage{ $reason }.
band = { $symbol } nach { $minutes } Minuten: { $low } bis { $high } ({ $coverage }-%-Band), Median { $median }.
band-held = Bisher hielt es { $held } % ({ $scored ->
    [one] eine bewertete Vorhersage
   *[other] { $scored } bewertete Vorhersagen
 }).
no-signal = Keine Richtung wird behauptet{ $reason }.
event = Auf solche Beiträge folgte { $minutes } Minuten lang das { $times }-Fache { $outcome ->
    [volume] des üblichen Volumens
   *[other] der üblichen Schwankung
 }: { $held } von { $n }.
matches = Nach den { $matches } ähnlichsten früheren Beiträgen ({ $windows } unabhängige Zeitfenster) bewegte sich der Kurs im Mittel um { $end }; üblich { $usual }.
control = In ebenso vielen zufälligen Fenstern gleicher Stunde und Schwankung: { $end }.
paths-none = Kurse: kein ähnlicher früherer Beitrag, dessen Ausgang damals bekannt war.
explanation = Ähnliche Beiträge sagen: { $words }
typical = Ein typischer Beitrag darunter: „{ $words }“
note = Hinweis: { $words }
note-forwarded = Zur Zeit des Originals gibt es hier keine Kurse; gelesen, als wäre es eben erschienen.
note-album = Ein Album mit { $count } Bildern: Das erste wurde gelesen.
note-unseen =
    { $what ->
        [video] Die Worte wurden gelesen; das Video wurde nicht angesehen.
        [audio] Die Worte wurden gelesen; die Aufnahme wurde nicht angehört.
       *[file] Die Worte wurden gelesen; die Datei wurde nicht angesehen.
    }
edited = Ich habe den Beitrag gelesen, wie er zuerst gesendet wurde. Schick ihn noch einmal, damit der geänderte gelesen wird.

# Warum etwas in einer Antwort steht oder fehlt: je Code aus domain/reasons.py ein Satzteil für die Mitte eines Satzes.
reason-no-words = der Text hat weder Wörter noch Emoji
reason-foreign = der Text ist wohl auf { $language }; gelesen wird nur Englisch
reason-unsure = unsicher zwischen { $first } und { $second }
reason-no-face = im Bild ist kein Gesicht zu finden
reason-nothing-readable = weder Text noch Bild zeigen eine lesbare Stimmung
reason-both = { $text }; { $picture }
reason-no-market-history = vor dem Beitrag gibt es keine Kurse dieses Markts
reason-few-candles = in den 256 Minuten vor dem Beitrag gibt es zu wenige Kurse
reason-few-windows = nur { $count } der { $windows } Fenster vor dem Beitrag haben genug Kurse; { $least } braucht es
reason-no-trade = in den Fenstern vor dem Beitrag wurde nichts gehandelt
reason-no-better-than-persistence = in der letzten Prüfung war das Modell nicht besser als die Annahme, dass es weitergeht wie bisher
reason-no-author = weder Autor noch Kanal sind bekannt
reason-short-author-history = vom Autor sind nur von { $count } früheren Beiträgen die Likes bekannt; { $least } braucht es
reason-short-channel-history = vom Kanal sind nur von { $count } früheren Beiträgen die Likes bekannt; { $least } braucht es
reason-no-post-hype = was ein einzelner Beitrag bewirkt, sagt diese Generation der Modelle nicht vorher
reason-signal-not-earned = im letzten Vorwärtstest schlägt das Band die Woche davor um { $crps } % (mindestens { $crps_low } %), doch die Worte bringen { $words } % gegenüber vertauschten Worten ({ $words_low } bis { $words_high } %)
reason-signal-earned = im letzten Vorwärtstest schlägt das Band die Woche davor um { $crps } % (mindestens { $crps_low } %), und die Worte bringen { $words } % gegenüber vertauschten Worten ({ $words_low } bis { $words_high } %)
reason-signal-untested = keine Prüfung hat gezeigt, dass ähnliche Beiträge verraten, wohin der Kurs geht
reason-older-band = dieses Band stammt von einer früheren Version: Es wurde geweitet, bis es den Mittelwert der Treffer hielt, und seine Mitte steht für den Median
reason-no-coin = der Beitrag nennt keine Münze; angenommen ist { $symbol }
reason-no-candles = in den 256 Minuten vor dem Beitrag gibt es keine Kurse von { $symbol }
reason-no-picture = das Bild dieses Beitrags ist nicht mehr gespeichert; nur die Worte wurden gelesen
reason-no-past = vor diesem Beitrag war noch kein Fenster zu Ende; es gibt nichts zu vergleichen
reason-width-of-symbol = zu wenige Kurse von { $symbol } vor dem Beitrag: die Breite des Bands stammt aus seinen früheren Fenstern
reason-width-of-all = zu wenige Kurse von { $symbol } vor dem Beitrag: die Breite des Bands stammt aus den früheren Fenstern aller Märkte
reason-stale-tape = die neueste Kerze von { $symbol } ist mehr als eine Stunde alt: das Band ist breiter gezeichnet
reason-gapped-tape = ein Fünftel oder mehr der Kurse des Tages von { $symbol } fehlt: das Band ist breiter gezeichnet
reason-no-window = von { $symbol } gibt es noch kein früheres Fenster: verglichen mit allen Märkten, auf seine Schwankung umgerechnet
reason-newest-windows = der Beitrag hat keine Worte zum Vergleichen: die neuesten Fenster stehen dafür
reason-no-explanation = eine Erklärung in Worten gibt es nicht: diese Generation der Modelle hat keine
reason-explanation-not-asked = Beiträge, auf die niemand wartet, werden nicht in Worten erklärt
reason-explanation-far = die gefundenen Worte führen nicht zu den ähnlichen Beiträgen zurück und werden nicht gezeigt
reason-explanation-clumsy = die gefundenen Worte ergeben keinen brauchbaren Satz und werden nicht gezeigt
reason-explanation-direction = die gefundenen Worte nennen eine Richtung, die nicht belegt ist, und werden nicht gezeigt
reason-explanation-numbers = die gefundenen Worte enthalten eine Zahl, die nicht belegt ist, und werden nicht gezeigt
reason-explanation-names = die gefundenen Worte enthalten einen Namen, der nicht belegt ist, und werden nicht gezeigt
reason-explanation-empty = für die ähnlichen Beiträge fanden sich keine Worte
reason-explanation-no-text = der Wortlaut der ähnlichen Beiträge ist hier nicht gespeichert, darum steht keiner als typischer da
reason-queue-away = die Warteschlange ist gerade nicht erreichbar; versuch es gleich noch einmal
reason-no-explainer = kein Worker hat den Kurs innerhalb von { $seconds } s erklärt; versuch es gleich noch einmal
reason-chart-broken = dieser Kursverlauf ließ sich nicht erklären; Näheres steht im Log des Workers
reason-empty-post = hier gibt es weder Text noch ein Bild zu lesen: Schick Text oder ein Bild
reason-nothing-left = dieser Beitrag hat weder Worte noch ein lesbares Bild: Schick Text oder ein Bild
reason-text-too-long = der Text hat { $count } Zeichen, gelesen werden höchstens { $most }: Schick einen kürzeren
reason-picture-empty = das Bild ist eine leere Datei (0 Bytes): Schick JPEG, PNG, WebP, GIF oder HEIC
reason-picture-bytes = das Bild hat { $megabytes } MB und ist zu groß (höchstens { $most } MB): Schick ein kleineres
reason-picture-pixels = das Bild hat { $width } × { $height } Pixel und ist zu groß (höchstens { $most } Megapixel): Schick ein kleineres
reason-picture-huge = das Bild hat viel zu viele Pixel (höchstens { $most } Megapixel): Schick ein kleineres
reason-picture-broken = das Bild ist beschädigt oder abgeschnitten: Schick JPEG, PNG, WebP, GIF oder HEIC
reason-not-a-picture = diese Datei ist { $kind }, kein lesbares Bild: Schick JPEG, PNG, WebP, GIF oder HEIC
reason-picture-not-taken = diese Datei ist ein { $name }-Bild einer Art, die nicht genommen wird, oder abgeschnitten: Schick JPEG, PNG, WebP, GIF oder HEIC
reason-file-of-type = diese Datei ist vom Typ { $name }, kein lesbares Bild: Schick JPEG, PNG, WebP, GIF oder HEIC
reason-upload-too-large = das Hochgeladene ist zu groß (höchstens { $most } MB): Schick etwas Kleineres
reason-file-too-big = diese Datei ist zu groß: Telegram lässt Bots { $megabytes } MB holen; schick eine kleinere
reason-unsupported = diese Art Nachricht lässt sich nicht lesen: Schick Text oder ein Bild
reason-not-a-market = „{ $text }“ ist kein Marktname; schreib ihn wie BTC/USDT
reason-market-unsettled = „{ $text }“ sagt nicht, worin abgerechnet wird; schreib ihn wie BTC/USDT:USDT oder BTC/USD:BTC
reason-market-ambiguous = „{ $text }“ kann eines von { $readings } sein; schreib ihn mit Schrägstrich wie { $first }
reason-coin-unknown = „{ $text }“: keine Münze dieses Namens ist bekannt; schreib sie wie BTC/USDT
reason-market-unknown = den Markt { $symbol } gibt es hier nicht; bekannt sind: { $known }
reason-no-market-known = den Markt { $symbol } gibt es hier nicht: Noch kam keine Kerze davon an
reason-not-a-time = „{ $text }“ ist keine Zeit; schreib sie wie 2021-05-19T12:00Z
reason-time-in-future = die Zeit { $at } liegt in der Zukunft; nenne eine vergangene oder keine
reason-time-too-early = um { $at } hatte noch kein Markt Kurse; nenne eine spätere Zeit
reason-no-candles-then = in den { $minutes } Minuten vor { $at } gibt es keine Kurse von { $symbol }; wähle eine andere Zeit oder einen anderen Markt
reason-match-both = gib einen Text oder eine Reihe, nicht beides
reason-match-nothing = gib einen Text, eine Reihe oder einen Markt
reason-window-incomplete = von den { $minutes } Minuten von { $symbol } vor { $at } fehlen einige
reason-series-length = eine Reihe braucht { $least } bis { $most } Kurse; diese hat { $count }
reason-series-not-positive = eine Reihe besteht aus Kursen über null
reason-series-not-numbers = die Reihe ist keine JSON-Liste von Zahlen
reason-series-not-price = „{ $text }“ ist kein Kurs; gib eine Zahl je Zeile oder eine JSON-Liste
reason-queue-full = { $count } Beiträge warten schon; versuch es in etwa { $seconds } s noch einmal
reason-own-queue-full = von dir warten schon { $count } Beiträge; versuch es in etwa { $seconds } s noch einmal
reason-no-answer-yet = nach { $seconds } s gibt es noch keine Antwort; der Beitrag ist gespeichert, frag gleich noch einmal
reason-no-verdict = die Antwort kommt nicht; der Beitrag ist gespeichert, schick ihn später noch einmal
reason-stopping = dieser Dienst hält gerade an; der Beitrag ist gespeichert, frag gleich noch einmal
reason-cancelled = das Lesen dieses Beitrags wurde abgebrochen; schick ihn noch einmal, wenn du noch eine Antwort willst
reason-post-unknown = einen Beitrag mit dieser Kennung gibt es nicht; schick ihn an /v1/analyze
reason-post-not-waiting = dieser Beitrag wartet nicht mehr: er wird gerade gelesen oder hat seine Antwort
reason-not-scored = dieser Beitrag ließ sich nicht bewerten; er ist gespeichert, und Näheres steht im Log des Workers
reason-ended-worker = das Bewerten dieses Beitrags hat den Worker mehrmals beendet, deshalb wird es nicht mehr versucht
reason-worded = { $text }
reason-unknown = aus einem Grund, den diese Version nicht kennt ({ $code })

kind-html = eine Webseite (HTML)
kind-svg = eine SVG-Zeichnung
kind-video = ein Video
kind-audio = eine Tonaufnahme
kind-text = reiner Text
kind-other = etwas anderes

language-en = Englisch
language-es = Spanisch
language-pt = Portugiesisch
language-fr = Französisch
language-de = Deutsch
language-it = Italienisch
language-nl = Niederländisch
language-tr = Türkisch
language-id = Indonesisch
language-pl = Polnisch
language-ru = Russisch
language-uk = Ukrainisch
language-ar = Arabisch
language-fa = Persisch
language-hi = Hindi
language-ja = Japanisch
language-ko = Koreanisch
language-zh = Chinesisch
language-vi = Vietnamesisch
language-th = Thailändisch

chart-mood = Stimmung: { $label }, { $certainty } %
chart-no-mood = keine eindeutige Stimmung
chart-change = Kursänderung in Prozent, nach Minuten seit dem Beitrag
chart-band = { $coverage }-%-Band
chart-median = Median
chart-matches = ähnliche Beiträge
chart-control = zufällige
chart-no-paths = Keine Kursverläufe
chart-moods = Stimmung in Prozent
chart-words = Worte
chart-picture = Bild
chart-windows = { $windows } unabhängige Fenster
chart-models = Modelle { $revision }, Daten bis { $until }

error = { $reason }.
error-bad-input = Damit lässt sich nichts anfangen: Schick Text oder ein Bild. ({ $id })
error-unavailable = Die Antwort lässt sich gerade nicht berechnen. Bitte versuch es später noch einmal. ({ $id })
error-internal = Hier ist etwas schiefgegangen; es wurde vermerkt. Bitte versuch es später noch einmal. ({ $id })

command-start = Was dieser Bot tut
command-help = Was du schicken kannst
command-last = Die letzte Antwort noch einmal
command-language = Sprache wählen
command-privacy = Was gespeichert wird
command-forget-me = Alles von dir löschen
command-rescore = Wie die Neubewertung steht

rescore =
    Neubewertung: Lauf { $run }, { $state }
    { $bar } { $percent } %
    { $done } von { $total } Beiträgen, Modellstand { $revision }, { $rate } Beiträge/s
rescore-left =
    { $minutes ->
        [0] Noch etwa { $seconds } s.
        [one] Noch etwa eine Minute.
       *[other] Noch etwa { $minutes } Minuten.
    }
rescore-none = Es gibt keinen Lauf. „moodtape rescore“ auf dem Server beginnt einen.
rescore-cannot = Das geht nicht: Der Lauf ist { $state }.
state-running = im Gang
state-paused = angehalten
state-done = fertig
state-cancelled = abgebrochen
steer-pause = Anhalten
steer-resume = Weiter
steer-cancel = Abbrechen

# Die Seite. Schlüssel mit page-js- am Anfang füllen ihre Skripte aus.
page-title = moodtape – die Stimmung von Beiträgen neben den Kursen
page-skip = Zur Antwort springen
page-banner = synthetische Vorführung – Kurse und Beiträge der laufenden Listen sind vom Programm erfunden
page-banner-label = Welche Daten laufen
page-tagline = die Stimmung eines Beitrags, und was Kurse nach ähnlichen taten
page-ask = Einen Beitrag lesen
page-drop = Foto hierher ziehen
page-js-drop-more = oder eines wählen oder einfügen
page-preview = Das gewählte Foto
page-remove = Foto entfernen
page-caption = Text
page-caption-hint = Was sagt der Beitrag?
page-market = Markt
page-optional = wahlweise
page-market-hint = sonst der, den die Worte nennen
page-time = Zeit in UTC
page-key = API-Schlüssel
page-send = Stimmung lesen
page-rescoring = Neubewertung
page-live = Neueste Beiträge
page-js-connecting = verbindet …
page-no-post = Noch wurde kein Beitrag gelesen.
page-answer = Die Antwort
page-nothing = Noch nichts gelesen. Ein Foto, ein Text oder beides genügt.
page-example = Ein Beispiel
page-tape = Die Kurse
page-no-candle = Noch kam keine Kerze an.
page-past = Frühere Beiträge und ihre Kurse sagen wenig über den nächsten.
page-api = HTTP-API
page-health = Zustand
page-noscript = Diese Seite braucht JavaScript; die HTTP-API geht ohne: siehe README.
page-language = Sprache
page-js-reading = Der Beitrag wird gelesen …
page-js-reading-long = Noch wird gelesen; die Warteschlange ist wohl lang. Es geht von selbst weiter.
page-js-needs-key = Hier braucht es einen API-Schlüssel; gib ihn oben ein.
page-js-reference = Kennung { $id }
page-js-photo-size = Das Foto hat mehr als 20 MB; wähle ein kleineres.
page-js-both-empty = Schick ein Foto oder einen Text; beide sind leer.
page-js-well = alle Dienste laufen
page-js-away = moodtape antwortet nicht. Läuft es noch? Versuch es gleich noch einmal.
page-js-status = Die Antwort war { $status }.
page-js-a-picture = (ein Bild)
page-js-show = zeigen
page-js-no-mood = keine eindeutige Stimmung
page-js-hype = Hype { $chance }
page-js-is-live = läuft
page-js-key-needed = braucht den API-Schlüssel
page-js-interrupted = unterbrochen, neuer Versuch …
page-js-close = { $exchange }, Schluss { $close } um { $at }
page-js-tape-label = { $symbol }, letzte { $count } Minuten: von { $first } bis { $last }
page-js-run = Lauf { $run }, { $state }
page-js-end-run = Lauf { $run } beenden? Seine Antworten bleiben.
page-js-run-text = { $done } von { $total } Beiträgen, Modellstand { $revision }, { $rate } Beiträge/s
page-js-left = { $text }, noch etwa { $span }
page-js-emotions = Gefühle
page-js-after = { $symbol } nach diesem Beitrag, und was er nach ähnlichen tat
page-js-prices = Kurse nach ähnlichen Beiträgen
page-js-in-words = In Worten
page-js-together = zusammen
page-js-words = Worte
page-js-picture = Bild
page-js-words-alone = Worte allein
page-js-picture-alone = Bild allein
page-js-for = dafür: { $share } des Gewichts
page-js-against = dagegen: { $share } des Gewichts
page-js-chips = Worte für (+) und gegen (−) { $label }
page-js-differ = Die Worte sagen { $text }, das Bild { $image }.
page-js-matched = Ähnliche Beiträge: { $count }
page-js-source = Quelle
page-js-posted = erschienen
page-js-market = Markt
page-js-similarity = Ähnlichkeit
page-js-price-then = Kurs danach
page-js-models = Modelle { $revision }, Daten bis { $until }
page-js-notes = Hinweise
page-js-chart = { $symbol } in { $minutes } Minuten: { $low } bis { $high }, Median { $median }. Pfeiltasten lesen einzelne Minuten.
page-js-minute = nach { $minute } min: Median { $median }, Band { $low } bis { $high }
page-js-minutes = Minuten nach dem Beitrag
page-js-median = Median
page-js-band = Band, das { $coverage } % der Ausgänge halten soll
page-js-control = zufällige Fenster gleicher Stunde und Schwankung
page-js-match = nach ähnlichen Beiträgen
page-mood = Stimmung
page-hype = Hype
page-none = keine eindeutig
page-no-forecast = keine Vorhersage
page-sure = { $certainty } % sicher.
page-price = { $symbol } nach { $minutes } min
page-price-none = Kurs
page-no-matches = nichts Ähnliches
