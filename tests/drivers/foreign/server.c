/* A Modbus server made with libmodbus: second party of the tests and of the benchmark.
 *
 * server tcp                 listens on a free port of 127.0.0.1 and prints it
 * server rtu PATH BAUD UNIT  serves one unit on a serial port and prints "ready"
 * server live tcp|rtu FILE   as tcp, but with contents that move; rtu: serial frames over TCP
 *
 * Register n holds n at first; what is written stays. Live registers instead tell which
 * unit, table and address they are and how often the 16-bit clock in FILE has ticked;
 * its other end is tests/drivers/faults/world.py. Ends when its input closes.
 */
#include <errno.h>
#include <fcntl.h>
#include <modbus.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define REGISTERS 65536
#define CLIENTS 80

static modbus_mapping_t *map;
static const volatile uint16_t *ticks; /* NULL: registers stand still */

/* What the asked registers hold at this tick; must match world.py. */
static void move(const uint8_t *ask) {
    int unit = ask[0], function = ask[1], start = ask[2] << 8 | ask[3], count = ask[4] << 8 | ask[5];
    uint16_t *into = function == 3 ? map->tab_registers : map->tab_input_registers;
    uint16_t now = *ticks;
    for (int n = start; n < start + count && n < REGISTERS; n++)
        into[n] = (uint16_t)(n * 40503u + unit * 7919u + function * 104729u) ^ now;
}

static int one(modbus_t *ctx) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int n = modbus_receive(ctx, query);
    if (n == -1) return errno == EMBBADCRC || errno == ETIMEDOUT ? 0 : -1;
    if (n > 0 && ticks != NULL) move(query + modbus_get_header_length(ctx) - 1);
    if (n > 0) modbus_reply(ctx, query, n, map);
    return 0;
}

static int serve_tcp(bool serial_frames) {
    modbus_t *ctx = serial_frames ? modbus_new_rtu("-", 115200, 'N', 8, 1) : modbus_new_tcp("127.0.0.1", 0);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof addr;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&addr, size) || listen(listener, CLIENTS)) return 1;
    getsockname(listener, (struct sockaddr *)&addr, &size);
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    struct pollfd fds[CLIENTS + 2] = {{.fd = 0, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
    int used = 2;
    for (;;) {
        if (poll(fds, used, -1) < 0) return 1;
        if (fds[0].revents) return 0;
        for (int i = 2; i < used; i++) {
            if (!fds[i].revents) continue;
            modbus_set_socket(ctx, fds[i].fd);
            uint8_t unit; /* a serial context hears one unit only: become the one that is asked */
            bool gone = serial_frames && (recv(fds[i].fd, &unit, 1, MSG_PEEK) != 1 || modbus_set_slave(ctx, unit));
            if (gone || one(ctx)) {
                close(fds[i].fd);
                fds[i--] = fds[--used];
            }
        }
        if (fds[1].revents && used < CLIENTS + 2)
            fds[used++] = (struct pollfd){.fd = accept(listener, NULL, NULL), .events = POLLIN};
    }
}

static int serve_rtu(const char *path, int baud, int unit) {
    modbus_t *ctx = modbus_new_rtu(path, baud, 'N', 8, 1);
    if (modbus_set_slave(ctx, unit) || modbus_connect(ctx)) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = modbus_get_socket(ctx), .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 || fds[0].revents) return 0;
        if (fds[1].revents && one(ctx)) modbus_flush(ctx);
    }
}

static bool share(const char *path) {
    int fd = open(path, O_RDONLY);
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *ticks, PROT_READ, MAP_SHARED, fd, 0);
    if (found == MAP_FAILED) return false;
    ticks = found;
    return true;
}

int main(int argc, char **argv) {
    map = modbus_mapping_new(REGISTERS, REGISTERS, REGISTERS, REGISTERS);
    if (map == NULL) return 1;
    for (int n = 0; n < REGISTERS; n++) map->tab_registers[n] = map->tab_input_registers[n] = n;
    if (argc == 2 && !strcmp(argv[1], "tcp")) return serve_tcp(false);
    if (argc == 4 && !strcmp(argv[1], "live") && share(argv[3])) return serve_tcp(!strcmp(argv[2], "rtu"));
    if (argc == 5 && !strcmp(argv[1], "rtu")) return serve_rtu(argv[2], atoi(argv[3]), atoi(argv[4]));
    fprintf(stderr, "server tcp | server rtu PATH BAUD UNIT | server live tcp|rtu FILE\n");
    return 2;
}
