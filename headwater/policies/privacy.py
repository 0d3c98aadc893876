"""Which personal data is found, and what becomes of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from headwater.policies.base import Policy, compiled

PrivacyAction = Literal["replace", "mask", "hash", "pseudonym", "encrypt", "keep", "reject_document"]
_Entity = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class PrivacyRecognizer(Policy):
    """A recogniser of one's own: regular expressions for one entity."""

    entity: _Entity = Field(description="Name of what is found, in capitals; one of Presidio's or a new one.")
    patterns: list[str] = Field(min_length=1, description="Regular expressions (Python's `regex` module), any case.")
    score: float = Field(
        default=0.6, gt=0, le=1, description="Confidence of a match; below min_score it needs context."
    )
    context: list[str] = Field(
        default=[], description="Words of which one before a match adds 0.35 to its score (Presidio's own figure)."
    )

    @field_validator("patterns")
    @classmethod
    def _patterns_compile(cls, value: list[str]) -> list[str]:
        return compiled(value)


class PrivacyPolicy(Policy):
    """Which personal data is found, and what becomes of it, before anything is chunked."""

    enabled: bool = Field(default=True, description="False lets personal data into the index.")
    profile: Literal["standard", "strict"] = Field(
        default="standard",
        description="What holds where `actions` says nothing: standard keeps LOCATION, ORGANIZATION and NRP in the text (found and counted, but no personal data by themselves) and applies default_action to the rest; strict applies it to all.",
    )
    default_action: PrivacyAction = Field(
        default="replace",
        description="replace writes <ENTITY>; mask writes asterisks of the same length; hash, pseudonym and encrypt write a keyed hash, a name that is the same all over the corpus, or a token that `headwater reveal` opens; keep leaves it; reject_document keeps the whole document out.",
    )
    deny: dict[_Entity, list[str]] = Field(
        default={},
        description="Strings that always are personal data, in any case and however their words are spaced, by entity: {PERSON: [Ilse Varga]}.",
    )
    recognizers: list[PrivacyRecognizer] = Field(default=[], description="Recognisers of one's own.")
    actions: dict[_Entity, PrivacyAction] = Field(
        default={}, description="What is done with single entities: {EMAIL_ADDRESS: hash, US_SSN: reject_document}."
    )
    key_env: str = Field(
        default="HEADWATER_PRIVACY_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable with the secret of hash, pseudonym and encrypt: 16 characters or more. Never the secret itself.",
    )
    entities: list[_Entity] | None = Field(
        default=None,
        description="Entities to look for, by Presidio's names; default: names, and all that has a pattern except DATE_TIME, URL, UUID and what only other countries have.",
    )
    countries: list[str] | None = Field(
        default=None,
        description="Countries whose numbers are looked for (us, uk, de, es, in, au, ...): all of Presidio's recognisers for them; default: those that Presidio switches on itself (us and uk, the common ones).",
    )
    phone_regions: list[str] | None = Field(
        default=None,
        description="Regions (ISO 3166-1) whose phone numbers are found without a country code or a label; default: Presidio's US, GB, DE, FR, IL, IN, CA, BR.",
    )
    names: bool = Field(
        default=True, description="False looks for no names of people, places and organisations: patterns only."
    )
    spacy_model: str | None = Field(
        default=None,
        description="spaCy pipeline for names, a package or a folder, in place of the bundled model.",
    )
    transformers_model: str | None = Field(
        default=None,
        description="Folder of a Hugging Face token-classification model for names, in place of the bundled model.",
    )
    names_min_score: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="How sure the model has to be of a name; its score is a probability. Lower finds more, also of what is none. min_score holds, too.",
    )
    language: str = Field(default="en", description="Language of the recognisers' context words, and of names.")
    min_score: float = Field(
        default=0.4, ge=0, le=1, description="Findings below this confidence are ignored (presidio-research uses 0.4)."
    )
    allow: list[str] = Field(
        default=[],
        description="Exact strings that are never personal data (a support address, say); white space counts as one space.",
    )
    allow_patterns: list[str] = Field(
        default=[],
        description="Regular expressions; a finding or author that one matches as a whole is no personal data.",
    )
    keep_identifiers: bool = Field(
        default=True,
        description="Leave digit runs inside http links and licence numbers inside longer words: they name pages and records. False replaces them too.",
    )

    @field_validator("allow_patterns")
    @classmethod
    def _patterns_compile(cls, value: list[str]) -> list[str]:
        return compiled(value)

    @field_validator("countries")
    @classmethod
    def _countries_are_known(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            return None
        from headwater.privacy.entities import COUNTRIES

        unknown = sorted({country.lower() for country in value} - COUNTRIES.keys())
        if unknown:
            raise ValueError(f"unknown {', '.join(unknown)}. Known: {', '.join(sorted(COUNTRIES))}.")
        return [country.lower() for country in value]

    @field_validator("actions", "entities")
    @classmethod
    def _entities_are_known(cls, value: Any, info: ValidationInfo) -> Any:
        from headwater.privacy.entities import check_known

        own = set(info.data.get("deny", ())).union(item.entity for item in info.data.get("recognizers", ()))
        check_known(value or (), own)
        return value

    @model_validator(mode="after")
    def _one_model_of_names(self) -> PrivacyPolicy:
        if self.spacy_model is not None and self.transformers_model is not None:
            raise ValueError("spacy_model and transformers_model: set one of them, or neither")
        return self

    @property
    def own_entities(self) -> frozenset[str]:
        """The entities of the policy's own recognisers and deny lists."""
        return frozenset(self.deny).union(item.entity for item in self.recognizers)
