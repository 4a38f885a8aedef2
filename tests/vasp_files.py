"""vasprun.xml files as VASP writes them, small enough for a test."""

# ruff: noqa: E501 - VASP's own lines

from __future__ import annotations

import numpy as np


def vasprun(
    elements: list[str], frac: np.ndarray, lattice: np.ndarray, *, energy: float, spins: list[list[tuple[float, float]]],
    final: np.ndarray | None = None, electronic_steps: int = 2, fermi: float = -0.5, nelm: int = 60,
) -> str:  # fmt: skip
    """One ionic step. ``spins``: for one or two channels, (energy, occupation) of every band at one k-point."""
    step = f'<scstep><energy><i name="e_fr_energy">{energy}</i><i name="e_wo_entrp">{energy}</i><i name="e_0_energy">{energy}</i></energy></scstep>'
    final = frac if final is None else final
    bands = "".join(
        f'<set comment="spin {k + 1}"><set comment="kpoint 1">'
        + "".join(f"<r> {e:.4f} {o:.4f} </r>" for e, o in channel)
        + "</set></set>"
        for k, channel in enumerate(spins)
    )
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator><i name="program" type="string">vasp </i><i name="version" type="string">6.3.0 </i></generator>
<incar><i type="int" name="ISPIN">{len(spins)}</i><i type="int" name="NELM">{nelm}</i></incar>
<kpoints><generation param="Gamma"><v type="int" name="divisions">1 1 1</v></generation>
<varray name="kpointlist"><v>0.0 0.0 0.0</v></varray><varray name="weights"><v>1.0</v></varray></kpoints>
<parameters><separator name="electronic"><i type="int" name="NELM">{nelm}</i><i type="int" name="ISPIN">{len(spins)}</i></separator>
<separator name="ionic"><i type="int" name="NSW">0</i><i type="int" name="IBRION">-1</i></separator></parameters>
<atominfo><atoms>{len(elements)}</atoms><types>{len(set(elements))}</types>
<array name="atoms"><dimension dim="1">ion</dimension><field type="string">element</field><field type="int">atomtype</field>
<set>{"".join(f"<rc><c>{e:2}</c><c>1</c></rc>" for e in elements)}</set></array>
<array name="atomtypes"><dimension dim="1">type</dimension><field type="int">atomspertype</field><field type="string">element</field>
<field>mass</field><field>valence</field><field type="string">pseudopotential</field>
<set>{"".join(f"<rc><c>{elements.count(e)}</c><c>{e:2}</c><c>1.0</c><c>1.0</c><c>PAW_PBE {e} 01Jan2000</c></rc>" for e in dict.fromkeys(elements))}</set></array></atominfo>
{_structure("initialpos", frac, lattice)}
<calculation>{step * electronic_steps}{_structure("", final, lattice)}
<varray name="forces">{"<v>0.0 0.0 0.0</v>" * len(elements)}</varray>
<energy><i name="e_fr_energy">{energy}</i><i name="e_wo_entrp">{energy}</i><i name="e_0_energy">{energy}</i></energy>
<eigenvalues><array><dimension dim="1">band</dimension><field>eigene</field><field>occ</field><set>{bands}</set></array></eigenvalues>
<dos><i name="efermi">{fermi}</i></dos>
</calculation>
{_structure("finalpos", final, lattice)}
</modeling>
"""


def _structure(name: str, frac: np.ndarray, lattice: np.ndarray) -> str:
    vectors = "".join(f"<v>{' '.join(f'{x:.12f}' for x in v)}</v>" for v in lattice)
    places = "".join(f"<v>{' '.join(f'{x:.12f}' for x in v)}</v>" for v in frac)
    label = f' name="{name}"' if name else ""
    return (
        f'<structure{label}><crystal><varray name="basis">{vectors}</varray><i name="volume">1.0</i></crystal>'
        f'<varray name="positions">{places}</varray></structure>'
    )
