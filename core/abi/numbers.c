/* Written by .ci/abi --renew: numbers that programs were compiled with. */
#include <millpond/millpond.h>

_Static_assert(POND_EOPTION == -1, "POND_EOPTION was -1");
_Static_assert(POND_EURL == -2, "POND_EURL was -2");
_Static_assert(POND_EKEY == -3, "POND_EKEY was -3");
_Static_assert(POND_EVALUE == -4, "POND_EVALUE was -4");
_Static_assert(POND_ELOADER == -5, "POND_ELOADER was -5");
_Static_assert(POND_ETIMEOUT == -6, "POND_ETIMEOUT was -6");
_Static_assert(POND_ECACHE == -7, "POND_ECACHE was -7");
_Static_assert(POND_ESTORE == -8, "POND_ESTORE was -8");
_Static_assert(POND_ECLOSED == -9, "POND_ECLOSED was -9");
_Static_assert(POND_EDEADLOCK == -10, "POND_EDEADLOCK was -10");
_Static_assert(POND_ECANCELED == -11, "POND_ECANCELED was -11");
_Static_assert(POND_EINTERRUPTED == -12, "POND_EINTERRUPTED was -12");
_Static_assert(POND_ENOMEM == -13, "POND_ENOMEM was -13");
_Static_assert(POND_EPROTOCOL == -14, "POND_EPROTOCOL was -14");
_Static_assert(POND_EOVERLOAD == -15, "POND_EOVERLOAD was -15");
_Static_assert(POND_EMISUSE == -16, "POND_EMISUSE was -16");
_Static_assert(POND_EABSENT == -17, "POND_EABSENT was -17");
_Static_assert(POND_EQUERY == -18, "POND_EQUERY was -18");
_Static_assert(POND_EDUPLICATE == -19, "POND_EDUPLICATE was -19");
_Static_assert(POND_EINVALID == -20, "POND_EINVALID was -20");
_Static_assert(POND_LOAD_UNCACHED == 1u, "POND_LOAD_UNCACHED was 1u");
