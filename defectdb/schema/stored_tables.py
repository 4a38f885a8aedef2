"""Every table of the database with its columns, their units and meanings."""

from __future__ import annotations

from defectdb.schema.dictionary_entries import PAIR_COLUMNS, SITE_COLUMNS, Table, lattice_columns, table

STORED_TABLES: tuple[Table, ...] = (
    table("schema_migrations", "One row per schema version applied to this file.", """
        version | | number of the migration
        name | | what it brought
        applied_at | UTC | when it was applied
    """),
    table("datasets", "One row per loaded source.", """
        dataset_id | | key
        name | | name given by the source or the user
        format | | reader that loaded it
        source_uri | | file or folder it came from
        sha256 | | hash of the source's bytes
        licence | | licence of the data
        citation | | how to cite the data
        doi | | digital object identifier of the citation
        cutoff | angstrom | periodic images of pairs up to this distance are listed in distances
        n_structures | | structures loaded
        n_rejects | | rows that could not be loaded (see rejects)
        ingested_at | UTC | when it was loaded
        level | | level of theory: datasets with the same name here have comparable energies
        functional | | functional that the source declares
        energy_zero | | of configurations: atoms where energies count from free atoms, else own
    """),
    table("materials", "One row per pristine 2D material.", f"""
        material_id | | key, e.g. MoS2
        formula | | chemical formula of the unit cell
        {lattice_columns("the unit cell vector")}
        zigzag_x | 1 | x component of the unit vector along the zigzag direction
        zigzag_y | 1 | y component of the unit vector along the zigzag direction
        angle_period | degree | directions that differ by this angle are alike
        n_sites | | atoms in the unit cell
    """),
    table("material_sites", "One row per atom of a material's unit cell.", f"""
        material_id | | material
        sublattice | | number of the site in the unit cell
        {SITE_COLUMNS}
    """),
    table("hosts", "One row per pristine supercell.", f"""
        host_id | | key
        material_id | | material it repeats
        supercell | | repetitions along a, b, c
        n_sites | | atoms in the supercell
        {lattice_columns("the supercell vector")}
        energy | eV | total energy of the pristine supercell
        e1 | eV | lowest level of the pristine supercell
        e_vbm | eV | valence band maximum of the pristine supercell
        fermi | eV | Fermi level of the pristine supercell
        pbc | | vectors along which the crystal repeats: ab for a layer
    """),
    table("host_sites", "One row per atom of a pristine supercell.", f"""
        host_id | | host
        site_index | | number of the site in the supercell
        sublattice | | site of the unit cell that it repeats
        {SITE_COLUMNS}
    """),
    table("chemical_potentials", "One row per element of a dataset.", """
        dataset_id | | dataset
        element | | element
        mu | eV | chemical potential
        reference | | phase it was computed in
    """),
    table("structures", "One row per supercell with defects.", """
        structure_id | | key, as in the source
        dataset_id | | dataset it came with
        host_id | | pristine supercell it was matched to
        descriptor | | name that the source gives to this combination of defects
        n_defects | | number of point defects
        composition | | chemical formula of the supercell
        density | | low or high density of defects
        relaxed | | whether the positions were relaxed
        max_displacement | angstrom | largest distance of an atom from its ideal site
        source_path | | file or archive member it came from
        content_hash | | hash of lattice, species and positions
        structure_key | | number of the structure in this file: joins and groups by it are the fastest
        defect_labels | | labels of its defects, sorted and joined by +
        charge | e | charge: 0 unless the source says otherwise
    """),
    table("defects", "One row per point defect of a structure.", """
        defect_id | | key
        structure_id | | structure
        idx | | number of the defect in its structure, from 0
        kind | | vacancy, substitution, interstitial or adatom
        label | | canonical label: Vac_Mo, W_Mo, Int_S, Ad_Li
        element_from | | host element that is gone
        element_to | | element that is there instead
        site_index | | host site (see host_sites)
        sublattice | | site of the unit cell
        layer | | height along c: bottom, middle, top
        frac_x | 1 | fractional coordinate along a, in [0, 1)
        frac_y | 1 | fractional coordinate along b, in [0, 1)
        frac_z | 1 | fractional coordinate along c
        x | angstrom | Cartesian coordinate
        y | angstrom | Cartesian coordinate
        z | angstrom | Cartesian coordinate
        structure_key | | number of the structure
    """),
    table("pairs", "One row per two defects of a structure.", f"""
        pair_id | | key
        structure_id | | structure
        defect_i | | idx of the first defect
        defect_j | | idx of the second defect, larger than defect_i
        {PAIR_COLUMNS}
        dx_min | angstrom | x component of the minimum-image vector from i to j
        dy_min | angstrom | y component of the minimum-image vector from i to j
        structure_key | | number of the structure
    """),
    table("targets", "One row per stored property of a structure.", """
        structure_id | | structure
        target | | name of the property
        value | | its value, in the unit of column unit
        unit | | unit of value
        spin | | spin channel, empty where there is only one
        source | | where the number came from: the source's column, or computed
    """),
    table("rejects", "One row per structure or line that could not be loaded.", """
        dataset_id | | dataset
        source_path | | file or archive member
        row | | line of the table, NULL for a file
        reason | | kind of fault
        detail | | what was wrong
    """),
    table("notes", "One row per remark about a structure that was loaded all the same.", """
        dataset_id | | dataset
        structure_id | | structure
        note | | what is odd about it
    """),
    table("runs", "One row per run of a learner.", """
        run_id | | key
        kind | | what was learned
        status | | running, done or failed
        started_at | UTC | start
        finished_at | UTC | end
        config | | settings as JSON
        selection_sql | | query that selected the training rows
        selection_hash | | hash of those rows
        n_rows | | number of those rows
        seed | | seed of every random number
        device | | device the learner ran on
        version | | version of defectdb
        reason | | why it failed
    """),
    table("generations", "One row per generation of a formula search.", """
        run_id | | run
        task | | which search of the run: label and target
        island | | which of the searches of this task, each from a seed of its own
        generation | | number of the generation
        seconds | s | time that it took
        n_candidates | | formulas written
        n_unique | | those that differ by more than the order of operands
        n_new | | those of them that were fitted for the first time
        n_in_domain | | those of the new ones that are safe over the whole range
        best_mse | eV^2 | lowest mean squared error so far
        reached | eV^2 | complexities at which the lowest error so far falls, each with its mean squared error
        kl | nat | Kullback-Leibler term of the autoencoder's loss
        loss | nat | the autoencoder's loss
    """),
    table("formulas", "One row per learned formula and version; rows are appended, only status changes.", """
        formula_id | | key
        run_id | | run that found it
        material_id | | material
        pair_label | | what it is about: a pair or a triple label, or composition (numbers of defects)
        target | | property it gives
        version | | counts up per material, label and target
        ast | | the formula as a JSON tree: what all other forms derive from
        prefix | | the formula in prefix tokens
        infix | | the formula to read, constants exact
        latex | | the formula as LaTeX mathematics, constants rounded to five digits
        sql | | the formula as a DuckDB expression over its variables
        constants | eV, angstrom | fitted constants c0, c1 ...
        constant_errors | eV, angstrom | their standard errors
        complexity | | number of tokens
        n_constants | | number of fitted constants
        n_train | | rows it was fitted to
        mae_train | eV | mean absolute error on those rows
        mae_cv | eV | mean absolute error in cross-validation: every distance left out, all constants fitted anew
        mae_cv_interior | eV | the same without the shortest and the longest distance
        law | | name of the law that it is, of several their sum; NULL for a formula without a name
        bic | | Bayesian information criterion
        description_length | nat | data and formula together, with the noise that the formula leaves
        r_min | angstrom | shortest distance it was fitted to (of a composition: fewest defects)
        r_max | angstrom | longest distance it was fitted to (of a composition: most defects)
        dz_min | angstrom | smallest dz it holds for
        dz_max | angstrom | dz it no longer holds for (1e9: none)
        cutoff | angstrom | from here on it is nothing (NULL: no cutoff)
        images | | nearest: the minimum image; sum: summed over periodic images
        status | | candidate, active, retired or stale (its data changed)
        created_at | UTC | when it was stored
        role | | part of a potential: phi, rho or F; NULL for a formula of defects
    """),
    table("models", "One row per model of a material's property, and version.", """
        model_id | | key
        run_id | | run that made it
        material_id | | material
        target | | property it gives
        version | | counts up per material and target
        aggregator | | sum of all terms; min, max over pairs; shift_min, shift_max: deciding defect, moved
        n_defects_min | | fewest defects of the structures that it predicts
        n_defects_max | | most defects of the structures that it predicts
        images | | nearest or sum (see formulas)
        trained_on | | what the kernels were learned from: pairs, all (structures), or pairs and all
        n_train | | structures it was fitted to
        mae_train | eV | mean absolute error on those
        mae_cv | eV | mean absolute error in cross-validation
        interval_90 | eV | half-width that held 90 % of the calibration errors
        status | | candidate, active, retired or stale (its data changed)
        created_at | UTC | when it was stored
        kind | | defects, or potential: an interatomic potential (see potentials)
    """),
    table("model_terms", "One row per term of a model.", """
        model_id | | model
        order | | 0 host offset or composition, 1 one-defect term, 2 pair kernel, 3 three-body term
        label | | defects the term is about
        part | | number of the kernel among those of one label (by dz window)
        formula_id | | the term's formula
        value | eV | the term's value where it has no formula
    """),
    table("model_fronts", "One row per total length at which a run found a more accurate model.", """
        run_id | | run that found it
        tokens | | total length of its formulas
        error | eV | error of a structure that the formulas' training errors make, estimated
        formula_ids | | the formula of every kernel
    """),
    table("prediction_intervals", "Half-widths of 90 % intervals, a row per composition and others for the rest.", """
        model_id | | model
        n_defects | | number of defects; NULL: half-widths of one defect, times their number, for any other
        composition | | defect_labels of the structures; NULL: every other composition of that number
        half_width | eV | half-width of the interval
        half_width_outside | eV | the same outside the distances that were learned from
        n_calibration | | errors that it was taken from
    """),
    table("networks", "One row per graph network of the defects; rows are appended, only status changes.", """
        network_id | | key
        run_id | | run that trained it
        target | | property it gives
        version | | counts up per target and materials
        materials | | materials it was trained on
        hosts | | pristine supercells it was trained on
        learned_on | | values of the target, or residuals: what the formulas of model_ids leave, which are added
        model_ids | | models whose residuals it was trained on
        recipe | | fast or published
        architecture | | layers as JSON
        baseline | eV | what is linear in the numbers of defects, added to the network's output, as JSON
        n_members | | networks whose mean predicts
        n_parameters | | numbers of all of them together
        n_train | | structures it was trained on
        n_defects_min | | fewest defects among those
        n_defects_max | | most defects among those
        data_hash | | hash of the training rows
        seed | | seed of the first member, the next ones count up
        seconds | s | time that the training took
        mae_train | eV | mean absolute error on the training rows (of an energy: per site)
        mae_held | eV | the same on the rows left out of the training
        weights | | all weights in the safetensors layout
        status | | candidate, active, retired or stale (its data changed)
        created_at | UTC | when it was stored
    """),
    table("network_predictions", "What every network predicts for the structures stored when it was trained.", """
        network_id | | network
        structure_id | | structure
        target | | what is predicted
        value | eV | prediction: mean over the members
        unit | | unit of value
        spread | eV | standard deviation over the members; NULL of one member
        n_defects | | number of defects of the structure
        extrapolated | | whether the network saw no structure of this host or with this number of defects
        trained | | whether the network saw the structure's value in training
    """),
)  # fmt: skip
