"""Pair subsets selected by SQL to formulas: the deep symbolic regression and what it publishes."""

from defectdb.learn.config import LearnConfig
from defectdb.learn.jobs import Learned, Progress, learn_pairs
from defectdb.learn.model_job import learn_model

__all__ = ["LearnConfig", "Learned", "Progress", "learn_model", "learn_pairs"]
