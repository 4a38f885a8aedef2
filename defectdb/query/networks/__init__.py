"""Networks beside the formulas: errors on the same structures, and where one is better than the other."""
