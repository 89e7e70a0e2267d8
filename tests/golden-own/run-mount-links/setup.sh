ln -s /d k
