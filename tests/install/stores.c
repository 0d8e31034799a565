/* A program of somebody else's on an installed store. */
#include <stdio.h>
#ifdef STORE_inbox
#include <weir/inbox.h>
#elif defined STORE_sqlite
#include <weir/sqlite.h>
#else
#include <weir/postgres.h>
#endif
#include <weir/weir.h>

int main(void)
{
    struct weir_error error = {WEIR_OK, ""};
#ifdef STORE_inbox
    struct weir_inbox *store = weir_inbox_create(NULL, 4096, &error);
    weir_inbox_destroy(store);
#elif defined STORE_sqlite
    struct weir_sqlite *store = weir_sqlite_create("/nowhere/at/all.db", &error);
    weir_sqlite_destroy(store);
#else
    struct weir_postgres *store = weir_postgres_create("host=/nowhere/at/all", 0, &error);
    weir_postgres_destroy(store);
#endif
    puts(weir_code_name(weir_mark_outcome(WEIR_MARK_DONE) == WEIR_ACK ? error.code : WEIR_OK));
    return store != NULL;
}
