"""The meaning of answers: formulas, numbers with units, short texts. Pure functions of text; nothing is executed."""
