touch -d @-100 a; touch -d @9000000000 b
