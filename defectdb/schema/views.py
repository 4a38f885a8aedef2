"""Every view of the database with its columns, their units and meanings."""

from __future__ import annotations

from defectdb.schema.dictionary_entries import PAIR_COLUMNS, PREDICTION_COLUMNS, Table, target_columns, view

VIEWS: tuple[Table, ...] = (
    view("image_offsets", "Lattice translations considered by view distances.", """
        image_a | | cells along a
        image_b | | cells along b
        image_c | | cells along c
    """),
    view("distances", "One row per periodic image of a pair within the dataset's cutoff.", """
        pair_id | | pair
        structure_id | | structure
        label | | the two defects' labels, sorted and joined by -
        image_a | | cells along a from the nearest image
        image_b | | cells along b from the nearest image
        image_c | | cells along c from the nearest image
        distance | angstrom | distance to this image
        dx | angstrom | x component
        dy | angstrom | y component
        dz | angstrom | part along c, absolute
    """),
    view("target_values", "One value per structure and target, spin channels combined.", """
        structure_id | | structure
        target | | name of the property
        value | | its value; of two spin channels the smaller gap and LUMO and the larger HOMO
        unit | | unit of value
    """),
    view("targets_wide", "One row per structure, its targets as columns.", f"""
        structure_id | | structure
        {target_columns()}
    """),
    view("one_defect_energies", "Mean of each target over the structures with one defect alone.", """
        host_id | | host
        level | | level of theory (see datasets)
        label | | label of the defect, with its charge where there is one: Vac_S^-1
        charge | e | charge of the structure
        target | | name of the property
        value | | mean value, in the target's unit
        n_structures | | structures averaged
        spread | | largest less smallest of the values averaged
    """),
    view("raw_pair_energies", "One row per 2-defect structure: what view pair_energies is made of.", f"""
        structure_id | | structure
        dataset_id | | dataset
        host_id | | host
        material_id | | material
        pair_id | | pair
        {PAIR_COLUMNS}
        formation_energy | eV | formation energy of the two defects together
        energy_i | eV | formation energy of the first defect alone
        energy_j | eV | formation energy of the second defect alone
        pair_energy | eV | formation_energy - energy_i - energy_j
        homo | eV | highest occupied level
        lumo | eV | lowest unoccupied level
        homo_lumo_gap | eV | LUMO minus HOMO
        level | | level of theory (see datasets)
    """),
    view("host_offsets", "What pair energies tend to at large distance: the pristine energy's error.", """
        host_id | | host
        level | | level of theory (see datasets)
        value | eV | median of the pair energies beyond 9 angstrom, else of the farthest third
        n_pairs | | pairs it is the median of
        distance_min | angstrom | shortest distance among them
    """),
    view("pair_energies", "One row per 2-defect structure: what pair kernels are learned from.", f"""
        structure_id | | structure
        dataset_id | | dataset
        host_id | | host
        material_id | | material
        pair_id | | pair
        {PAIR_COLUMNS}
        formation_energy | eV | formation energy of the two defects together
        energy_i | eV | formation energy of the first defect alone
        energy_j | eV | formation energy of the second defect alone
        pair_energy | eV | formation_energy - energy_i - energy_j
        interaction | eV | pair_energy less the host's offset: goes to 0 at large distance
        homo | eV | highest occupied level
        lumo | eV | lowest unoccupied level
        homo_lumo_gap | eV | LUMO minus HOMO
        level | | level of theory (see datasets)
    """),
    view("triples", "One row per three defects of a structure, in one canonical order.", """
        structure_id | | structure
        label | | the three defects' labels, sorted and joined by -
        r12 | angstrom | distance of defects 1 and 2; like defects stand so that r12, r13, r23 are smallest
        r13 | angstrom | distance of defects 1 and 3
        r23 | angstrom | distance of defects 2 and 3
        dz12 | angstrom | dz of defects 1 and 2
        dz13 | angstrom | dz of defects 1 and 3
        dz23 | angstrom | dz of defects 2 and 3
        structure_key | | number of the structure
    """),
    view("formula_history", "Every version of every formula with the models that used it.", """
        material_id | | material
        pair_label | | defects it is about
        target | | property it gives
        version | | counts up per material, label and target
        formula_id | | formula
        dz_min | angstrom | smallest dz it holds for
        dz_max | angstrom | dz it no longer holds for
        infix | | the formula to read
        complexity | | number of tokens
        mae_train | eV | mean absolute error on the training rows
        mae_cv | eV | mean absolute error in cross-validation
        status | | candidate, active, retired or stale
        created_at | UTC | when it was stored
        run_id | | run that found it
        model_ids | | models that use it
    """),
    view("predictions", "What the active models predict for every stored structure.", f"""
        structure_id | | structure
        {PREDICTION_COLUMNS}
    """),
    view("predictions_latest", "What the newest version of every model predicts, active or not.", f"""
        structure_id | | structure
        {PREDICTION_COLUMNS}
    """),
    view("prediction_errors", "Predictions of the active models beside the stored targets.", """
        structure_id | | structure
        target | | what is predicted
        predicted | eV | prediction
        actual | eV | stored value
        error | eV | predicted - actual
        unit | | unit of both
        model_id | | model that predicts
        n_defects | | number of defects
        extrapolated | | whether a distance lies outside the range its formula was learned on
        descriptor | | name that the source gives to this combination of defects
        dataset_id | | dataset
        host_id | | host
        material_id | | material
    """),
)  # fmt: skip
