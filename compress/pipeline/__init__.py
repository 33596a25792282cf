"""A recipe carried out: stages, files, proof, report and verdict."""
