"""The texts that a language model is told: versioned, labelled, compared, and never changed in place."""

from headwater.prompts.prompt import Prompt
from headwater.prompts.registry import PromptRegistry

__all__ = ["Prompt", "PromptRegistry"]
