"""Making a net smaller: what goes (plan), who decides (select, criteria), and the passes that do it."""
