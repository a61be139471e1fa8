"""Dates of documents: what files, records and metadata hold, as UTC."""

from datetime import UTC, datetime


def parse_date(value: object) -> datetime | None:
    """An ISO date or a time, as UTC; None for anything else."""
    try:
        date = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the latter of a time in year 1 or 9999 that UTC puts in another
        return None
