"""Shops on Pinduoduo (拼多多): orders pulled by the time they changed, parcels and stock levels written back."""
