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
no-signal = Keine Richtung wird behauptet{ $reason }.
event = Auf solche Beiträge folgte { $minutes } Minuten lang das { $times }-Fache { $outcome ->
    [volume] des üblichen Volumens
   *[other] der üblichen Schwankung
 }: { $held } von { $n }.
matches = Nach den { $matches } ähnlichsten früheren Beiträgen ({ $windows } unabhängige Zeitfenster) bewegte sich der Kurs im Mittel um { $end }; üblich { $usual }.
control = Nach ebenso vielen zufälligen Beiträgen: { $end }.
paths-none = Kurse: kein ähnlicher früherer Beitrag, dessen Ausgang damals bekannt war.
explanation = Ähnliche Beiträge sagen: { $words }
note = Hinweis: { $words }
note-forwarded = Zur Zeit des Originals gibt es hier keine Kurse; gelesen, als wäre es eben erschienen.
note-album = Ein Album mit { $count } Bildern: Das erste wurde gelesen.

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
reason-worded = { $text }
reason-unknown = aus einem Grund, den diese Version nicht kennt ({ $code })

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
chart-change = Kursänderung in Prozent
chart-minutes = Minuten nach dem Beitrag
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

error-empty-post = Schick Text oder ein Bild; in dieser Nachricht gibt es nichts zu lesen.
error-too-large = Das ist zu groß: Bilder bis 25 Megapixel und 20 MB, Text bis 20.000 Zeichen. Schick etwas Kleineres.
error-file-too-big = Diese Datei ist zu groß: Telegram lässt Bots { $megabytes } MB holen. Schick eine kleinere.
error-unreadable-image = Das ist kein lesbares Bild. Schick JPEG, PNG, WebP, GIF oder HEIC.
error-unsupported = Diese Art Nachricht kann ich nicht lesen. Schick Text oder ein Bild.
error-unknown-symbol = Diesen Markt gibt es hier nicht; schreib ihn wie BTC/USDT.
error-no-candles = Für diesen Markt und diese Zeit gibt es hier keine Kurse.
error-bad-input = Damit kann ich nichts anfangen. Schick Text oder ein Bild.
error-cancelled = Das Lesen dieses Beitrags wurde abgebrochen. Schick ihn noch einmal, wenn du noch eine Antwort willst.
error-busy = Zu viele Beiträge warten. Bitte schick ihn in etwa { $seconds } s noch einmal.
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
