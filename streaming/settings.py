"""Where the broker is and how the streams run."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from db.engine import Settings, filled


class StreamingSettings(Settings):
    """Read from the environment; the sources' own keys stand with the sources that need them."""

    kafka_bootstrap: str = Field(
        default="127.0.0.1:9092", description="host:port of a Kafka-protocol broker", validation_alias="KAFKA_BOOTSTRAP"
    )
    stream_group: str = Field(default="moodtape-sink", description="consumer group of the sinks")
    stream_member: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_.\-]{0,200}$",
        description="name of this sink in its group, another for each; with it a restart on Apache Kafka takes seconds less",
    )
    stream_batch: int = Field(default=20_000, ge=1, description="rows that the sink stores at a time")
    stream_linger: float = Field(default=0.2, gt=0, description="seconds that a row waits in a batch at most")
    stream_window: int = Field(default=100_000, ge=1, description="rows that a source may be ahead of the database")
    dead_letter_share: float = Field(
        default=0.05, gt=0, le=1, description="share of refused messages that stops the stream"
    )
    dead_letter_row: int = Field(default=100, ge=1, description="refused messages in a row that stop the stream")
    stream_metrics_port: int = Field(
        default=0, ge=0, description="port of the streams' /metrics, /live and /ready; 0 for none"
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="address that metrics are served on; another than the loopback only inside a container's network",
    )
    author_key: Annotated[SecretStr, AfterValidator(filled)] = Field(
        default=SecretStr("moodtape"),
        description="secret that authors' names are hashed with; keep it to recognise an author again",
    )
    synthetic_seed: int = Field(default=7, description="seed of the synthetic feed")
    exchanges: str = Field(default="binance", description="ccxt ids of the exchanges of --live, separated by commas")
    exchange_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="another address for the REST and websocket interfaces of the exchanges of --live, such as a relay's",
    )
    symbols: str = Field(
        default="BTC/USDT,ETH/USDT,SOL/USDT,DOGE/USDT", description="markets of --live, separated by commas"
    )
    post_sources: str = Field(
        default="bluesky", description="post sources of --live as name or name=argument, separated by commas"
    )
    x_token: SecretStr = Field(default=SecretStr(""), description="bearer token of X's API v2")
