rm m/.k; ln -s f l; ln -s ./l ll; mkdir kk; ln -s ../d/s/t/4.txt kk/f; ln -s /kk k; ln -s /../1.txt d/bad; ln -s 1.txt d/ln; ln -s /f m/a; ln -s nowhere m/b
