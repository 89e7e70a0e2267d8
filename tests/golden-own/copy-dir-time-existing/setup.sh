touch -d @1333333333 d
