"""The HTML around a report: one page without scripts, fonts, links or files beside it."""

from collections.abc import Iterable, Sequence
from html import escape as escape

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2127;--soft:#58626d;--rule:#d9dee3;
--lane:#f1f3f5;--a:#1667b0;--b:#b4540a;--good:#1d7a45;--open:#8a6100;--bad:#b3261e}
@media screen and (prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e6e9ec;--soft:#9aa5b0;
--rule:#353c44;--lane:#20252b;--a:#6ab0f3;--b:#f2a25c;--good:#5fc98a;--open:#e0b34c;--bad:#f28b82}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:68rem;background:var(--paper);
color:var(--ink);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.25rem;margin:2.75rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.4rem 0 .8rem;max-width:46rem}
.soft,figcaption,.none{color:var(--soft);font-weight:400}
figcaption{font-size:.875rem;line-height:1.4}
.verdict{border-left:.4rem solid;padding:.25rem 0 .25rem 1rem;margin:1.25rem 0}
.verdict strong{display:block;font-size:1.25rem}
.verdict.good{border-color:var(--good)}.verdict.open{border-color:var(--open)}
.verdict.bad{border-color:var(--bad)}
nav{font-size:.9rem;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem}
a{color:var(--a)}
.key{display:inline-block;width:1.6rem;margin-right:.4rem;border-top:.2rem solid;
vertical-align:middle}
.key.a{border-color:var(--a)}.key.b{border-color:var(--b);border-top-style:dashed}
.legend{font-size:.9rem;display:flex;flex-wrap:wrap;gap:.2rem 1.5rem}
.grid{display:grid;gap:1.25rem 1.5rem;grid-template-columns:repeat(auto-fill,minmax(17.5rem,1fr))}
.grid.small{gap:.75rem;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr))}
.two{display:grid;gap:1rem 2.5rem;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr))}
figure{margin:0;break-inside:avoid}
.key+span,.item{white-space:nowrap}.item{display:block}
img{image-rendering:pixelated;display:block;width:100%;height:auto}
.film{display:grid;grid-template-columns:2fr 3fr;gap:.2rem;margin-bottom:1.1rem}
.film figcaption{grid-column:1/-1}
.strip{display:grid;grid-template-columns:repeat(3,1fr);gap:.2rem;align-content:start}
.reached{color:var(--good);font-weight:600}.failed{color:var(--bad);font-weight:600}
table{border-collapse:collapse;font-size:.9rem;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--rule);
vertical-align:middle}
th{font-weight:600}thead th{color:var(--soft);font-weight:500}
td.n,th.n{text-align:right}td.n,thead th{white-space:nowrap}
thead th.n{white-space:normal}
tbody th{min-width:8.5rem}td svg{min-width:8rem}
.scroll{overflow-x:auto}
.rates{display:grid;grid-template-columns:minmax(8rem,13rem) 1fr auto;gap:.35rem 1rem;
align-items:center;font-variant-numeric:tabular-nums}
.rate{display:contents}
.rates h3{grid-column:1/-1;margin:.9rem 0 0}
.rates .soft{font-size:.875rem}
.rates .ends{display:flex;justify-content:space-between;font-size:.8rem;color:var(--soft)}
svg{display:block;overflow:visible}
svg.chart{width:100%;height:auto;font-size:11px}
svg.chart text{fill:var(--soft)}
svg .e{text-anchor:end}svg .m{text-anchor:middle}
svg .grid{stroke:var(--rule);stroke-width:1}svg .axis{stroke:var(--soft)}
svg .ink{stroke:var(--ink);stroke-width:1.5}
svg .lane{fill:var(--lane)}
svg .fill.a{fill:var(--a);fill-opacity:.75}svg .fill.b{fill:var(--b);fill-opacity:.75}
svg .line{fill:none;stroke-width:1.75;stroke-linejoin:round}
svg .line.a{stroke:var(--a)}svg .line.b{stroke:var(--b);stroke-dasharray:5 3}
svg .dot.a{fill:var(--a)}svg .dot.b{fill:var(--b)}
svg .box{fill:var(--lane);stroke:var(--rule)}
svg .band{fill:var(--a);fill-opacity:.45;stroke:var(--a);stroke-width:1}
svg .nominal{stroke:var(--ink);stroke-dasharray:2 3}
pre{background:var(--lane);padding:.6rem .8rem;overflow-x:auto;font-size:.9rem;margin:.5rem 0}
ul{padding-left:1.2rem;max-width:46rem}
@media(max-width:36rem){
body{font-size:.97rem}h1{font-size:1.4rem}
.rates{display:block}.rates .blank{display:none}
.rate{display:grid;grid-template:"n v" auto "t t" auto/1fr auto;gap:.1rem 1rem;margin:.6rem 0}
.rate>.v{grid-area:v;text-align:right}.rate>.track{grid-area:t}
.grid.small{grid-template-columns:repeat(2,1fr)}
table{font-size:.82rem}th,td{padding-right:.5rem}tbody th{min-width:7rem}
.two{grid-template-columns:1fr}}
@media print{body{max-width:none;padding:0;font-size:10pt}nav{display:none}
.scroll{overflow:visible}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}h2,h3{break-after:avoid}}
"""


def page(title: str, body: Iterable[str]) -> str:
    """Returns a whole page; ``title`` is plain text, ``body`` is HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def section(anchor: str, title: str, intro: str, body: str) -> str:
    """Returns a section; ``title`` and ``intro`` are plain text. An empty body says so."""
    says = f"<p>{escape(intro)}</p>\n" if intro else ""
    inner = body or '<p class="none">No data for this section.</p>'
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n{says}{inner}\n</section>'


def figure(inner: str, caption: str = "", kind: str = "") -> str:
    """Returns a figure; ``inner`` and ``caption`` are HTML."""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return (
        f'<figure class="{kind}">{inner}{below}</figure>'
        if kind
        else f"<figure>{inner}{below}</figure>"
    )


def image(source: str, alt: str) -> str:
    """Returns an image; ``source`` is a data address, ``alt`` plain text."""
    return f'<img src="{source}" alt="{escape(alt)}">'


def moving(source: str, still: str, alt: str) -> str:
    """Returns an animation that stays still for readers who asked their device for less motion."""
    calm = f'<source srcset="{still}" media="(prefers-reduced-motion:reduce)">'
    return f"<picture>{calm}{image(source, alt)}</picture>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Returns a table that scrolls sideways on a narrow screen; cells are HTML.

    Args:
        head: column titles, plain text; all empty leaves the line out.
        rows: cells, the first of each row is its title.
        numbers: columns to align on the right.
    """

    def cell(tag: str, i: int, text: str, scope: str) -> str:
        kind = ' class="n"' if i in numbers else ""
        return f"<{tag}{scope}{kind}>{text}</{tag}>"

    top = "".join(cell("th", i, escape(t), ' scope="col"') for i, t in enumerate(head))
    lines = "".join(
        "<tr>"
        + "".join(
            cell("td" if i else "th", i, t, "" if i else ' scope="row"') for i, t in enumerate(row)
        )
        + "</tr>\n"
        for row in rows
    )
    titles = f"<thead><tr>{top}</tr></thead>\n" if any(head) else ""
    inner = f"{titles}<tbody>\n{lines}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def listing(items: Iterable[str]) -> str:
    """Returns a list of plain sentences."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def duration(seconds: float) -> str:
    """Returns a time span in words, e.g. "12 min 5 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
