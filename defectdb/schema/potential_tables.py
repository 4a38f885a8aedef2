"""The tables of interatomic potentials with their columns, units and meanings."""

from __future__ import annotations

from defectdb.schema.dictionary_entries import Table, table

POTENTIAL_TABLES: tuple[Table, ...] = (
    table("configurations", "One row per configuration with energy and forces.", """
        structure_id | | key: dataset and number in its source
        dataset_id | | dataset it came with
        material_id | | element
        name | | name that the source gives it
        config_type | | kind of configuration, as the source says
        split | | train, test or another part, as the source says
        n_atoms | | number of atoms
        source_path | | file it came from
        row | | number of the frame in its source, from 1
        content_hash | | hash of cell, atoms, energy and forces
    """),
    table("atoms", "One row per configuration: its atoms as arrays.", """
        structure_id | | configuration
        cell | angstrom | the three cell vectors, one behind the other
        numbers | | atomic numbers
        positions | angstrom | x, y, z of every atom
        forces | eV/angstrom | x, y, z of the force on every atom, NULL where the source has none
    """),
    table("potentials", "One row per interatomic potential (a model of kind potential).", """
        model_id | | model
        phi_id | | formula of the pair term phi(r)
        rho_id | | formula of the density rho(r)
        embedding_id | | formula of the embedding F(rho)
        cutoff | angstrom | distance from which phi and rho are nothing
        window_width | angstrom | length before the cutoff over which a smooth window takes them there
        r_min | angstrom | shortest distance it was learned from
        density_max | | largest density it was learned from, in the unit of rho
        n_constants | | fitted constants of all three formulas
    """),
    table("potential_shifts", "One row per potential and dataset: what the dataset's energies count from.", """
        model_id | | model
        dataset_id | | dataset
        shift | eV | energy of a free atom in the dataset, taken away before comparing
        fitted | | whether it was fitted; else energies count from free atoms by the source's word
    """),
    table("potential_errors", "One row per potential, dataset, split and config_type: errors against the source.", """
        model_id | | model
        dataset_id | | dataset
        split | | part of the dataset
        config_type | | kind of configuration
        n_configurations | | number of configurations
        energy_mae | eV | mean absolute error of the energy per atom
        energy_rmse | eV | root mean squared error of the energy per atom
        force_mae | eV/angstrom | mean absolute error of the force components
        force_rmse | eV/angstrom | root mean squared error of the force components
        stress_mae | eV/angstrom^3 | mean absolute error of the stress components
        stress_rmse | eV/angstrom^3 | root mean squared error of the stress components
    """),
    table("potential_properties", "One row per potential and property of its crystal.", """
        model_id | | model
        property | | name of the property
        value | | its value, in the unit of column unit
        unit | | unit of value
        reference | | value from density functional theory, NULL where none is at hand
        source | | where the reference comes from
    """),
)  # fmt: skip
