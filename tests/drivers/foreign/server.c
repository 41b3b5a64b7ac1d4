/* A Modbus server made with libmodbus: second party of the tests and of the benchmark.
 *
 * server tcp                 listens on a free port of 127.0.0.1 and prints it
 * server rtu PATH BAUD UNIT  serves one unit on a serial port and prints "ready"
 *
 * Register n holds n at first; what is written stays. Ends when its input closes.
 */
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REGISTERS 65536
#define CLIENTS 80

static modbus_mapping_t *map;

static int one(modbus_t *ctx) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int n = modbus_receive(ctx, query);
    if (n == -1) return errno == EMBBADCRC || errno == ETIMEDOUT ? 0 : -1;
    if (n > 0) modbus_reply(ctx, query, n, map);
    return 0;
}

static int serve_tcp(void) {
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
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
            if (one(ctx)) {
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

int main(int argc, char **argv) {
    map = modbus_mapping_new(0, 0, REGISTERS, REGISTERS);
    if (map == NULL) return 1;
    for (int n = 0; n < REGISTERS; n++) map->tab_registers[n] = map->tab_input_registers[n] = n;
    if (argc == 2 && !strcmp(argv[1], "tcp")) return serve_tcp();
    if (argc == 5 && !strcmp(argv[1], "rtu")) return serve_rtu(argv[2], atoi(argv[3]), atoi(argv[4]));
    fprintf(stderr, "server tcp | server rtu PATH BAUD UNIT\n");
    return 2;
}
