rm m/e/.k; chmod 7755 m/f; chmod 3777 m/e
