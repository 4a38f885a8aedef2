"""A graph network of the defects alone, as published by Kazeev et al.: graphs, model, training, predictions."""
