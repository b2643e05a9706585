"""The best trials trained again with fresh seeds; a trial reproduced."""
