"""The marks by which chat models tell who speaks, wherever they stand: a document has no business with them.

The forms are those of the published chat templates of Llama 2 and 3, ChatML (Qwen, OpenAI), Mistral, Gemma, Phi,
DeepSeek, Zephyr, Alpaca, Vicuna and of Anthropic's text completions.
"""

from __future__ import annotations

import re

ROLES = "system|user|assistant|human|ai|bot|model|developer|tool|instructions?|response|inst|sys"

_TEMPLATE = (
    # <|im_start|>, <|eot_id|>, <｜User｜> (folded), <|channel|>
    r"<\|[^\s|<>][^|<>\n]{0,40}\|>"
    # [INST], [/INST], [SYSTEM_PROMPT], [TOOL_CALLS], [AVAILABLE_TOOLS]
    r"|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]"
    r"|<</?SYS>>"
    r"|</?(?:start_of_turn|end_of_turn|start_header_id|end_header_id|system_prompt)>"
)
TEMPLATE_TOKEN = re.compile(_TEMPLATE, re.IGNORECASE)
"""What stands in prompts and nowhere else. On folded text."""

CONTROL_TOKEN = re.compile(
    # ... and what also stands in HTML, XML and texts on prompting.
    _TEMPLATE + r"|</?(?:s|bos|eos|unk|pad)>|\[/?(?:SYS|THINK)\]"
    r"|</?(?:system|assistant|user|human|instructions?|tool_call|tool_response|function_calls|think)(?:\s[^<>\n]{0,60})?>",
    re.IGNORECASE,
)
"""What a prompt or an answer must not hold. On folded text."""

ROLE_LINE = re.compile(
    rf"^[ \t>]*(?:#{{1,6}}[ \t]*|\*\*[ \t]*|\[[ \t]*)(?:{ROLES})(?:[ \t]+(?:prompt|message|instructions?|override|note))?"
    r"[ \t]*(?:\*\*|\])?[ \t]*(?P<colon>:)",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that begins a turn: ``### System:``, ``**Assistant**:``. On folded text."""
