-- The trace that an input came in (W3C Trace Context), so that the answer to it, perhaps much later, is part of it.
alter table turns add traceparent text;
