"""What the endpoints take and return. Offsets count Unicode code points of a document's cleaned text."""

from serving.models.answers import (
    AnswerRecordOut,
    AnswerRequest,
    AnswerResponse,
    CitationOut,
    DroppedOut,
    RestartOut,
    SentenceOut,
    StartOut,
    TurnIn,
    UsageOut,
)
from serving.models.corpora import CallerCorporaResponse, CorporaResponse, CorpusOut, ReleaseOut, ReleasesResponse
from serving.models.documents import (
    MAX_DOCUMENT_SPAN,
    DocumentOut,
    DocumentResponse,
    DocumentsResponse,
    PageOut,
    SectionOut,
)
from serving.models.feedback import FeedbackListResponse, FeedbackOut, FeedbackRequest, FeedbackResponse
from serving.models.fields import MAX_NUMBER, CorpusName, Groups, Number, QueryGroups, Request, Response, has_no_nul
from serving.models.filters import Filters
from serving.models.operation import CorpusReadiness, Health, Readiness
from serving.models.problem import FieldProblem, Problem
from serving.models.prompts import PromptLabelOut, PromptOut, PromptsResponse, PromptVersionOut
from serving.models.search import PassageOut, RetrieveRequest, RetrieveResponse

__all__ = [
    "MAX_DOCUMENT_SPAN",
    "MAX_NUMBER",
    "AnswerRecordOut",
    "AnswerRequest",
    "AnswerResponse",
    "CallerCorporaResponse",
    "CitationOut",
    "CorporaResponse",
    "CorpusName",
    "CorpusOut",
    "CorpusReadiness",
    "DocumentOut",
    "DocumentResponse",
    "DocumentsResponse",
    "DroppedOut",
    "FeedbackListResponse",
    "FeedbackOut",
    "FeedbackRequest",
    "FeedbackResponse",
    "FieldProblem",
    "Filters",
    "Groups",
    "Health",
    "Number",
    "PageOut",
    "PassageOut",
    "Problem",
    "PromptLabelOut",
    "PromptOut",
    "PromptVersionOut",
    "PromptsResponse",
    "QueryGroups",
    "Readiness",
    "ReleaseOut",
    "ReleasesResponse",
    "Request",
    "Response",
    "RestartOut",
    "RetrieveRequest",
    "RetrieveResponse",
    "SectionOut",
    "SentenceOut",
    "StartOut",
    "TurnIn",
    "UsageOut",
    "has_no_nul",
]
