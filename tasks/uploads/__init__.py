"""The files that a judgement makes, in their place before the result that names them is recorded."""
