"""The bytes of every export format, kept as snapshots."""

from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl
import pytest

from defectdb.errors import UnknownNameError
from defectdb.query.export import render, write

FRAME = pl.DataFrame(
    {
        "pair": ["Vac_Mo-Vac_S", "50% & <b>|x|</b> $5 #1 {~^\\}", None],
        "latex": [r"\frac{a_1}{r^{2}}", r"\left|{r}\right| < 1", None],
        "mae": [0.00123456789, 1.5e-12, None],
        "n": [15, -3, None],
        "labels": [["a", "b"], [], None],
        "at": [datetime.datetime(2026, 1, 2, 3, 4, 5), None, None],
        "far": [True, False, None],
    }
)

LATEX = r"""% \usepackage{booktabs}
\begin{tabular}{llrrlll}
\toprule
pair & formula & mae & n & labels & at & far \\
\midrule
Vac\_Mo-Vac\_S & $\frac{a_1}{r^{2}}$ & $0.00123457$ & 15 & a, b & 2026-01-02 03:04:05 & True \\
50\% \& \textless{}b\textgreater{}|x|\textless{}/b\textgreater{} \$5 \#1 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\} & $\left|{r}\right| < 1$ & $1.5 \times 10^{-12}$ & -3 &  &  & False \\
 &  &  &  &  &  &  \\
\bottomrule
\end{tabular}
"""  # noqa: E501

MARKDOWN = r"""| pair | formula | mae | n | labels | at | far |
| --- | --- | ---: | ---: | --- | --- | --- |
| Vac\_Mo-Vac\_S | $\frac{a_1}{r^{2}}$ | 0.00123457 | 15 | a, b | 2026-01-02 03:04:05 | True |
| 50% & \<b\>\|x\|\</b\> \$5 #1 {~^\\} | $\left\vert {r}\right\vert  < 1$ | 1.5e-12 | -3 |  |  | False |
|  |  |  |  |  |  |  |
"""

HTML = r"""<table>
<thead><tr><th>pair</th><th>formula</th><th>mae</th><th>n</th><th>labels</th><th>at</th><th>far</th></tr></thead>
<tbody>
<tr><td>Vac_Mo-Vac_S</td><td>\(\frac{a_1}{r^{2}}\)</td><td style="text-align: right">0.00123457</td><td style="text-align: right">15</td><td>a, b</td><td>2026-01-02 03:04:05</td><td>True</td></tr>
<tr><td>50% &amp; &lt;b&gt;|x|&lt;/b&gt; $5 #1 {~^\}</td><td>\(\left|{r}\right| &lt; 1\)</td><td style="text-align: right">1.5e-12</td><td style="text-align: right">-3</td><td></td><td></td><td>False</td></tr>
<tr><td></td><td></td><td style="text-align: right"></td><td style="text-align: right"></td><td></td><td></td><td></td></tr>
</tbody>
</table>
"""  # noqa: E501

CSV = r"""pair,latex,mae,n,labels,at,far
Vac_Mo-Vac_S,\frac{a_1}{r^{2}},0.00123456789,15,"a, b",2026-01-02T03:04:05.000000,true
50% & <b>|x|</b> $5 #1 {~^\},\left|{r}\right| < 1,1.5e-12,-3,"",,false
,,,,,,
"""


@pytest.mark.parametrize(
    ("style", "text"), [("latex", LATEX), ("markdown", MARKDOWN), ("html", HTML), ("csv", CSV)]
)
def test_the_text_of_each_format_is_the_one_kept_here(style: str, text: str, tmp_path: Path) -> None:
    assert render(FRAME, style) == text
    write(FRAME, style, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == text.encode()


def test_parquet_gives_the_same_frame_back(tmp_path: Path) -> None:
    write(FRAME, "parquet", tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet").equals(FRAME)


def test_an_unknown_format_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown format 'latx'; did you mean 'latex'"):
        write(FRAME, "latx", tmp_path / "x")
