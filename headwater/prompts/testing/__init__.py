"""Tests of prompts: cases in files, run by quoting, on scripted replies, and on a model where there is one."""

from headwater.prompts.testing.cases import AnswerCase, RewriteCase, packaged_cases, read_cases
from headwater.prompts.testing.running import CaseResult, run_case, ways_of

__all__ = ["AnswerCase", "CaseResult", "RewriteCase", "packaged_cases", "read_cases", "run_case", "ways_of"]
