/* The sentences of the stores' errors: see ids.h. Thread: any. */
#include "stores/ids.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int weir_store_fail(struct weir_error *error, enum weir_code code, const char *format, ...)
{
    if (!error)
        return code;
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size < 0)
        text[0] = '\0';
    size_t length = 0;
    for (; text[length] != '\0'; length++) /* databases write more than one line */
        if ((unsigned char)text[length] < ' ' || text[length] == 0x7f)
            text[length] = ' ';
    while (length > 0 && text[length - 1] == ' ')
        length--;
    memcpy(error->text, text, length);
    error->text[length] = '\0';
    error->code = code;
    return code;
}
