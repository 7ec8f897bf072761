"""The Telegram door from an update to the answer, on the emulator and a real database."""

from __future__ import annotations

import io

from PIL import Image
from sqlalchemy import text

from tests.bot.conftest import Bench


async def test_photo_and_caption_become_chart_and_words(bench: Bench, picture: bytes) -> None:
    """One answer: a PNG chart of 900 × 600, words with mood and disclaimer, two buttons, in reply to the photo."""
    bench.telegram.show(picture, "Bitcoin to the moon, $BTC!")
    (answer,) = await bench.answers(1)
    chart = Image.open(io.BytesIO(answer.picture))
    assert (chart.format, chart.size) == ("PNG", (900, 600))
    assert answer.text.startswith("Mood: ")
    assert "BTC/USDT" in answer.text
    assert answer.text.endswith("Not financial advice.")
    assert [b["text"] for b in answer.keyboard["inline_keyboard"][0]] == ["Right", "Wrong"]
    assert answer.reply_to == 2
    await bench.closed()
    with bench.engine.connect() as connection:
        row = connection.execute(text("select payload, answered_at is not null as done, error from inbox")).one()
    assert (row.payload, row.done, row.error) == ({}, True, None)
    assert [call.method for call in bench.telegram.calls if call.method == "sendChatAction"] == ["sendChatAction"]
