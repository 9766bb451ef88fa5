"""Before a test of this folder imports slicer, qt or ctk, the stand-in is put in their place."""

from standin.fixtures import no_error_in_a_slot

__all__ = ["no_error_in_a_slot"]
