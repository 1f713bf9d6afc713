"""The families of recognisers: LightningModules that wire nets and losses."""
