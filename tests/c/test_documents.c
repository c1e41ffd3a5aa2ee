/* Changes of documents on memory:. */
#include "support/document_cases.h"
#include "support/support.h"

int main(void) {
    watchdog(100);
    return document_cases("memory:documents");
}
