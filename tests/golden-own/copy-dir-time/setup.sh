chmod 2770 d; chmod 700 d/s; touch -d @1222222222 d/s; touch -d @1333333333 d
