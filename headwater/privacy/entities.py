"""Which kinds of personal data there are, which are looked for, and what is done with them unless a policy says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Literal

Action = Literal["replace", "mask", "hash", "pseudonym", "encrypt", "keep", "reject_document"]

NAMES = frozenset({"PERSON", "LOCATION", "ORGANIZATION", "NRP"})
"""What a model finds; everything else is found by patterns. NRP is nationality, religion or political group."""

MODELLED = NAMES | {"STREET_ADDRESS"}
"""What the bundled model reports: it reads street addresses, too, beside the patterns for them."""

KEPT = frozenset({"LOCATION", "ORGANIZATION", "NRP"})
"""What the standard profile finds, counts and leaves in the text: a city or a company alone is no personal data, and
answers need them. The strict profile replaces them, too."""

NOT_BY_DEFAULT = {
    "DATE_TIME": "a date says nothing about a person by itself, and answers need dates",
    "URL": "a link says nothing about a person by itself, and answers need links",
    "UUID": "names a machine's record; in an 889-file handbook all 171 findings were parts of links and none a person",
}
"""Entities that are looked for only when the policy names them, and why."""

KEYED: frozenset[Action] = frozenset({"hash", "pseudonym", "encrypt"})
"""Actions that need the corpus' key."""

EVERYWHERE = (
    *("CREDIT_CARD", "CRYPTO", "DATE_TIME", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS"),
    *("PHONE_NUMBER", "STREET_ADDRESS", "URL", "UUID"),
)
"""Entities of no country in particular."""

COUNTRIES: dict[str, tuple[str, ...]] = {
    "au": ("AU_ABN", "AU_ACN", "AU_MEDICARE", "AU_TFN"),
    "ca": ("CA_POSTAL_CODE", "CA_SIN"),
    "de": (
        *("DE_BSNR", "DE_FUEHRERSCHEIN", "DE_HANDELSREGISTER", "DE_HEALTH_INSURANCE", "DE_ID_CARD", "DE_KFZ"),
        *("DE_LANR", "DE_PASSPORT", "DE_PLZ", "DE_SOCIAL_SECURITY", "DE_TAX_ID", "DE_TAX_NUMBER", "DE_VAT_ID"),
    ),
    "es": ("ES_NIE", "ES_NIF", "ES_PASSPORT"),
    "fi": ("FI_PERSONAL_IDENTITY_CODE",),
    "in": ("IN_AADHAAR", "IN_GSTIN", "IN_PAN", "IN_PASSPORT", "IN_VEHICLE_REGISTRATION", "IN_VOTER"),
    "it": ("IT_DRIVER_LICENSE", "IT_FISCAL_CODE", "IT_IDENTITY_CARD", "IT_PASSPORT", "IT_VAT_CODE"),
    "kr": ("KR_BRN", "KR_DRIVER_LICENSE", "KR_FRN", "KR_PASSPORT", "KR_RRN"),
    "ng": ("NG_NIN", "NG_VEHICLE_REGISTRATION"),
    "ph": ("PH_PASSPORT", "PH_TIN", "PH_UMID"),
    "pl": ("PL_PESEL",),
    "se": ("SE_ORGANISATIONSNUMMER", "SE_PERSONNUMMER"),
    "sg": ("SG_NRIC_FIN", "SG_UEN"),
    "th": ("TH_TNIN",),
    "tr": ("TR_LICENSE_PLATE", "TR_NATIONAL_ID"),
    "uk": ("UK_DRIVING_LICENCE", "UK_NHS", "UK_NINO", "UK_PASSPORT", "UK_POSTCODE", "UK_VEHICLE_REGISTRATION"),
    "us": (
        *("ABA_ROUTING_NUMBER", "MEDICAL_LICENSE", "US_BANK_NUMBER", "US_CLAIM_NUMBER", "US_DRIVER_LICENSE"),
        *("US_HEALTH_INSURANCE_MEMBER_ID", "US_ITIN", "US_MBI", "US_NPI", "US_PASSPORT", "US_PRESCRIPTION_NUMBER"),
        *("US_PRIOR_AUTHORIZATION_NUMBER", "US_PROVIDER_TAX_ID", "US_REFERRAL_NUMBER", "US_SSN"),
    ),
    "za": (
        *("ZA_COMPANY_REGISTRATION", "ZA_DRIVER_LICENSE", "ZA_ID_NUMBER", "ZA_INCOME_TAX_NUMBER", "ZA_LICENSE_PLATE"),
        *("ZA_MOBILE_NUMBER", "ZA_PASSPORT", "ZA_TELEPHONE_NUMBER", "ZA_TRAFFIC_REGISTER_NUMBER", "ZA_VAT_NUMBER"),
    ),
}
"""Entities by country (ISO 3166-1 alpha-2, but ``uk``), as Presidio's recognisers have them; a test compares."""

DEFAULT_COUNTRY_ENTITIES = (
    *("MEDICAL_LICENSE", "UK_NHS", "US_BANK_NUMBER", "US_DRIVER_LICENSE", "US_ITIN", "US_PASSPORT", "US_SSN"),
)
"""What is looked for of the countries' entities where a policy names no country: what Presidio's own configuration
has switched on for English."""


def chosen_entities(
    entities: Sequence[str] | None, countries: Sequence[str] | None, own: Collection[str]
) -> frozenset[str]:
    """Return the entities to look for: those named, or names, what is of no country, and the countries' own.

    ``own`` are the entities of the policy's own recognisers and deny lists, which are always looked for.
    """
    if entities is not None:
        return frozenset(entities).union(own)
    if countries is None:
        national: Iterable[str] = DEFAULT_COUNTRY_ENTITIES
    else:
        national = (entity for country in countries for entity in COUNTRIES[country])
    return NAMES.union(EVERYWHERE, national, own) - NOT_BY_DEFAULT.keys()


def known_entities() -> frozenset[str]:
    """Return every entity that can be found without a recogniser of the policy's own."""
    return NAMES.union(EVERYWHERE, *COUNTRIES.values())


def check_known(names: Iterable[str], own: Collection[str]) -> None:
    """Raise ValueError when one of ``names`` is neither known nor one of the policy's ``own`` entities."""
    known = known_entities() | set(own)
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"unknown entity {name}.{hint} Known: {', '.join(sorted(known))}.")


def action_for(entity: str, actions: Mapping[str, Action], default: Action, profile: str) -> Action:
    """Return what is done with findings of ``entity``."""
    if entity in actions:
        return actions[entity]
    return "keep" if profile == "standard" and entity in KEPT else default
