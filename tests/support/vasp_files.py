"""vasprun.xml, OUTCAR and POSCAR files as VASP writes them, small enough for a test."""

# ruff: noqa: E501 - VASP's own lines

from __future__ import annotations

from itertools import groupby

import numpy as np

VALENCES = {"B": 3.0, "N": 5.0, "C": 4.0, "Mo": 6.0, "S": 6.0, "W": 6.0, "Se": 6.0}
"""Electrons that the pseudopotentials of these elements bring."""


def neutral(elements: list[str]) -> float:
    """Electrons of the neutral cell."""
    return sum(VALENCES[element] for element in elements)


def vasprun(
    elements: list[str], frac: np.ndarray, lattice: np.ndarray, *, energy: float, spins: list[list[tuple[float, float]]],
    final: np.ndarray | None = None, electronic_steps: int = 2, fermi: float = -0.5, nelm: int = 60,
    electrons: float | None = None, weights: tuple[float, ...] = (1.0,),
) -> str:  # fmt: skip
    """One ionic step. ``electrons``: how many the run was given, where it says (``VALENCES`` make it neutral);
    ``weights``: of the k-points, each with its share of the bands. ``spins``: for one or two channels, (energy, occupation) of every band at one k-point."""
    step = f'<scstep><energy><i name="e_fr_energy">{energy}</i><i name="e_wo_entrp">{energy}</i><i name="e_0_energy">{energy}</i></energy></scstep>'
    final = frac if final is None else final
    bands = "".join(
        f'<set comment="spin {k + 1}">'
        + "".join(
            f'<set comment="kpoint {point + 1}">'
            + "".join(f"<r> {e:.4f} {o:.4f} </r>" for e, o in channel[point :: len(weights)])
            + "</set>"
            for point in range(len(weights))
        )
        + "</set>"
        for k, channel in enumerate(spins)
    )
    given = "" if electrons is None else f'<i name="NELECT">{electrons:16.8f}</i>'
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator><i name="program" type="string">vasp </i><i name="version" type="string">6.3.0 </i></generator>
<incar><i type="int" name="ISPIN">{len(spins)}</i><i type="int" name="NELM">{nelm}</i></incar>
<kpoints><generation param="Gamma"><v type="int" name="divisions">1 1 1</v></generation>
<varray name="kpointlist">{"".join(f"<v>{k / 8} 0.0 0.0</v>" for k in range(len(weights)))}</varray>
<varray name="weights">{"".join(f"<v>{w}</v>" for w in weights)}</varray></kpoints>
<parameters><separator name="electronic"><i type="int" name="NELM">{nelm}</i><i type="int" name="ISPIN">{len(spins)}</i>{given}</separator>
<separator name="ionic"><i type="int" name="NSW">0</i><i type="int" name="IBRION">-1</i></separator></parameters>
<atominfo><atoms>{len(elements)}</atoms><types>{len(set(elements))}</types>
<array name="atoms"><dimension dim="1">ion</dimension><field type="string">element</field><field type="int">atomtype</field>
<set>{"".join(f"<rc><c>{e:2}</c><c>1</c></rc>" for e in elements)}</set></array>
<array name="atomtypes"><dimension dim="1">type</dimension><field type="int">atomspertype</field><field type="string">element</field>
<field>mass</field><field>valence</field><field type="string">pseudopotential</field>
<set>{"".join(f"<rc><c>{elements.count(e)}</c><c>{e:2}</c><c>1.0</c><c>{VALENCES.get(e, 1.0)}</c><c>PAW_PBE {e} 01Jan2000</c></rc>" for e in dict.fromkeys(elements))}</set></array></atominfo>
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


def poscar(elements: list[str], frac: np.ndarray, lattice: np.ndarray, *, selective: bool = False) -> str:
    """VASP 5 format, atoms in the order given; ``selective``: with the flags of selective dynamics."""
    runs = [(e, len(list(group))) for e, group in groupby(elements)]
    flags = "   T   T   F" if selective else ""
    vectors = "".join("  " + " ".join(f"{x:21.16f}" for x in v) + "\n" for v in lattice)
    places = "".join(" " + " ".join(f"{x:19.16f}" for x in v) + flags + "\n" for v in frac)
    return (
        f"made for a test\n   1.00000000000000\n{vectors}   {'   '.join(e for e, _ in runs)}\n"
        f"   {'   '.join(str(n) for _, n in runs)}\n{'Selective dynamics' + chr(10) if selective else ''}Direct\n{places}"
    )


_TIMING = """
 General timing and accounting informations for this job:
 ========================================================

                  Total CPU time used (sec):      101.234
                            User time (sec):       98.100
                   Maximum memory used (kb):      402312.
"""


def outcar(
    energies: list[float], spins: list[list[tuple[float, float]]], *, fermi: float = -0.5, mag: float = 0.0,
    nsw: int = 0, electrons: bool = True, ions: bool = True, end: bool = True, version: str = "6.3.0", cycles: int = 2,
    noncollinear: bool = False, elements: list[str] | None = None, given: float | None = None,
) -> str:  # fmt: skip
    """Ionic steps of these energies [eV]. ``spins``: (energy, occupation) of every band at each of two
    k-points, occupations to 2 where there is one channel; ``electrons``, ``ions``, ``end``: whether the last
    step converged, the relaxation did, and the run came to its end; ``cycles``: electronic steps of each ionic step;
    ``given``: electrons of the run, which holds these ``elements``."""
    ibrion = 2 if nsw > 1 else -1
    runs = [(e, len(list(group))) for e, group in groupby(elements or [])]
    types = "".join(
        f"   POMASS =    1.000; ZVAL   = {VALENCES[e]:8.3f}    mass and valenz\n" for e, _ in runs
    )
    if runs:
        types += f"   ions per type =     {' '.join(f'{n:4}' for _, n in runs)}\n"
    if given is not None:
        types += f"   NELECT = {given:12.4f}    total number of electrons\n"
    text = f""" vasp.{version} 20Jan22 (build Mar 01 2022 10:00:00) complex
 running on    2 total cores
   k-points           NKPTS =      2   k-points in BZ     NKDIM =      2   number of bands    NBANDS=     {len(spins[0])}
   total plane-waves  NPLWV =   1000
   ISPIN  =      {len(spins)}    spin polarized calculation?
   NELM   =     60;   NELMIN=  2; NELMDL= -5     # of ELM steps
   EDIFFG = -.1E-01   stopping-criterion for IOM
   NSW    =     {nsw:3}    number of steps for IOM
   IBRION =     {ibrion:3}    ionic relax: 0-MD 1-quasi-New 2-CG
   LNONCOLLINEAR =      {"T" if noncollinear else "F"} non collinear calculations
"""
    text += types
    for step, energy in enumerate(energies, start=1):
        last = step == len(energies)
        for cycle in range(1, cycles + 1):
            text += f"\n--------------------------------------- Iteration {step:6}({cycle:4})  ---------------------------------------\n"
            magnetisation = f"{mag:13.7f}" if len(spins) == 2 else ""
            text += f"\n number of electron      12.0000000 magnetization {magnetisation}\n"
            text += f"\n  free energy    TOTEN  = {energy - 1:18.8f} eV\n"
            text += (
                f"\n  energy without entropy = {energy - 1:18.8f}  energy(sigma->0) = {energy - 1:18.8f}\n"
            )
        done = electrons or not last
        text += f"\n------------------------ aborting loop {'because EDIFF is reached' if done else 'EDIFF was not reached (unconverged)'} ----------------------------------------\n\n"
        text += f"\n E-fermi : {fermi - (not last):8.4f}     XC(G=0):  -9.1234     alpha+bet : -7.5678\n\n"
        for number, channel in enumerate(spins, start=1):
            text += f" spin component {number}\n\n" if len(spins) == 2 else ""
            for point in (1, 2):
                text += f" k-point {point:5} :       0.0000    {point / 4 - 0.25:.4f}    0.0000\n  band No.  band energies     occupation \n"
                shift = 0.1 * (point - 1) + 5.0 * (not last)
                text += (
                    "".join(
                        f"{k:7} {e + shift:12.4f} {o:12.5f}\n" for k, (e, o) in enumerate(channel, start=1)
                    )
                    + "\n"
                )
        text += "\n--------------------------------------------------------------------------------------------------------\n"
        text += "\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        text += f"  free  energy   TOTEN  = {energy - 0.001:18.8f} eV\n\n"
        text += f"  energy  without entropy= {energy + 0.001:18.8f}  energy(sigma->0) = {energy:18.8f}\n"
    if nsw > 1 and ions:
        text += "\n reached required accuracy - stopping structural energy minimisation\n"
    return text + (_TIMING if end else "")


def _structure(name: str, frac: np.ndarray, lattice: np.ndarray) -> str:
    vectors = "".join(f"<v>{' '.join(f'{x:.12f}' for x in v)}</v>" for v in lattice)
    places = "".join(f"<v>{' '.join(f'{x:.12f}' for x in v)}</v>" for v in frac)
    label = f' name="{name}"' if name else ""
    return (
        f'<structure{label}><crystal><varray name="basis">{vectors}</varray><i name="volume">1.0</i></crystal>'
        f'<varray name="positions">{places}</varray></structure>'
    )
