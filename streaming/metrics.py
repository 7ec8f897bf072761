"""What the streams count, for Prometheus; names and label sets are fixed here."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ROWS = Counter("moodtape_stream_rows_total", "Rows stored", ["kind"])
DUPLICATES = Counter("moodtape_stream_duplicates_total", "Rows that were stored already", ["kind"])
DEAD_LETTERS = Counter("moodtape_stream_dead_letters_total", "Messages refused", ["topic"])
FENCED = Counter("moodtape_stream_fenced_total", "Batches refused because another consumer had moved the offsets")
BATCH_SECONDS = Histogram(
    "moodtape_stream_batch_seconds",
    "Time of one transaction",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
LAG = Gauge("moodtape_stream_lag_messages", "Messages not read yet", ["topic"])
CANDLE_AGE = Gauge("moodtape_candle_age_seconds", "Age of the newest stored candle", ["exchange", "symbol"])
SENT = Counter("moodtape_feed_rows_total", "Rows that sources sent", ["source"])
RECONNECTS = Counter("moodtape_feed_reconnects_total", "Times a source was started again", ["source"])
STALLS = Counter("moodtape_feed_stalls_total", "Markets whose websocket was silent while they moved", ["source"])
BUSY = Counter("moodtape_exchange_busy_total", "Answers that asked us to wait (429)", ["exchange"])
UNREADABLE = Counter("moodtape_feed_unreadable_total", "Events of a source that could not be read", ["source"])
GAPS = Counter("moodtape_candle_gaps_total", "Holes between stored candles that were recorded")
OUTCOMES = Counter("moodtape_predictions_scored_total", "Predictions whose outcome became known")
REWINDS = Counter("moodtape_feed_rewinds_total", "Times a source went back to its stored cursor", ["source"])
BROKER_UP = Gauge("moodtape_broker_up", "1 while the broker answers")
