/* Leads connections to 93.184.216.0/24, which is public, to 127.0.0.1, and tells the program that it is there. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define FILES 4096
static _Atomic in_addr_t public_of[FILES];

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    if (!real) real = dlsym(RTLD_NEXT, "connect");
    if (fd >= 0 && fd < FILES) public_of[fd] = 0;
    if (address->sa_family != AF_INET || fd < 0 || fd >= FILES) return real(fd, address, length);
    struct sockaddr_in to = *(const struct sockaddr_in *)address;
    if ((ntohl(to.sin_addr.s_addr) & 0xffffff00) == 0x5db8d800) {
        public_of[fd] = to.sin_addr.s_addr;
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    return real(fd, (const struct sockaddr *)&to, sizeof to);
}

int getpeername(int fd, struct sockaddr *address, socklen_t *length) {
    static int (*real)(int, struct sockaddr *, socklen_t *);
    if (!real) real = dlsym(RTLD_NEXT, "getpeername");
    int result = real(fd, address, length);
    if (result == 0 && fd >= 0 && fd < FILES && public_of[fd]) {
        ((struct sockaddr_in *)address)->sin_addr.s_addr = public_of[fd];
    }
    return result;
}
