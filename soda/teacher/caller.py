"""teacher-gen as the user of an endpoint."""

from soda.endpoint.caller import Caller

__all__ = ["TEACHER"]

TEACHER = Caller("teacher-gen", "teacher", "SODA_TEACHER_API_KEY")
