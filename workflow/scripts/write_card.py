"""Write the model card of one generator (rule write_card)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.report import card

logs.start_log(snakemake.log[0])
given = snakemake.input
text = card.model_card(
    Path(given.template).read_text(encoding="utf-8"),
    snakemake.wildcards.model,
    io.read_json(given.generator),
    io.read_json(given.slices),
    io.read_table(given.table1),
    io.read_json(given.metrics),
    io.read_json(given.facts)["sentences"],
)
io.write_text(snakemake.output.card, text)
logs.log.info("1 card out")
