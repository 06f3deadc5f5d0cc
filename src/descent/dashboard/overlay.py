"""TensorBoard whose overlay charts say in their titles which line is which loss.

TensorBoard draws the lines of a run in one colour and tells them apart by symbols, which it hands
out in the order in which its server names the series: another one each time, with its fast data
server. Here they come in the order of the chart, and the title names each with its symbol.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from descent.records.tables import LAYOUT, LOSS_WORDS

if TYPE_CHECKING:
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

# As TensorBoard's page hands them out, the first to the first series of a run.
# Source: tensorboard/components/vz_chart_helpers/vz-chart-helpers.ts, SYMBOLS_LIST.
SYMBOLS = "◼◆▲★✚"
CHARTS: Mapping[str, Sequence[str]] = {
    title: tags for charts in LAYOUT.values() for title, (_, tags) in charts.items()
}


def in_order(series: Mapping[str, Any]) -> dict[str, Any]:
    """Return the series of an overlay chart in its order, empty ones for those a run lacks.

    Series of another chart come back as they are.
    """
    for tags in CHARTS.values():
        if series and set(series) <= set(tags):
            return {tag: series.get(tag, []) for tag in tags}
    return dict(series)


def give_titles(layout: Layout) -> None:
    """Let the titles of overlay charts name each loss with its symbol."""
    words = [f"{SYMBOLS[i]} {word}" for i, word in enumerate(LOSS_WORDS.values())]
    for category in layout.category:
        for chart in category.chart:
            if chart.title in CHARTS:
                chart.title = f"{'  '.join(words)}, {chart.title.rpartition(', ')[2]}"


def _plugins() -> list[Any]:
    """Return TensorBoard's plugins, with another one for the Custom Scalars tab."""
    from google.protobuf.json_format import Parse
    from tensorboard import default
    from tensorboard.plugin_util import proto_to_json
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    class OverlayPlugin(CustomScalarsPlugin):
        def scalars_impl(self, *given: Any, **named: Any) -> dict[str, Any]:
            found: dict[str, Any] = super().scalars_impl(*given, **named)
            return {**found, "tag_to_events": in_order(found.get("tag_to_events", {}))}

        def layout_impl(self, *given: Any, **named: Any) -> Any:
            found = super().layout_impl(*given, **named)
            if not found:
                return found
            layout = Parse(found, Layout())
            give_titles(layout)
            return proto_to_json(layout)

    every = default.get_plugins()
    return [OverlayPlugin if plugin is CustomScalarsPlugin else plugin for plugin in every]


def run_main() -> None:
    """Serve, as `tensorboard.main.run_main` does."""
    from absl import app
    from tensorboard import main_lib, program
    from tensorboard.plugins.base_plugin import FlagsError

    main_lib.global_init()
    board = program.TensorBoard(plugins=_plugins())
    try:
        app.run(board.main, flags_parser=board.configure)
    except FlagsError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
