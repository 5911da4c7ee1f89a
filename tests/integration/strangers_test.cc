// Whoever reaches the port without meaning to call: nobody else notices.

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "server/acceptor.h"
#include "tests/integration/secure_fixture.h"
#include "tests/support/raw_stream.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using std::chrono_literals::operator""s;
using testing::HasSubstr;

// Also with TLS, where the handshake comes first.
class StrangersTest : public SecureTest, public testing::WithParamInterface<bool> {
 protected:
  void ServeHere() {
    options_.handshake_timeout = 1s;
    if (GetParam()) {
      ServeTls();
    } else {
      Serve();
    }
  }
  grpc::StatusCode CallAnew() const { return Call(GetParam() ? Tls("ca") : NewChannel()); }

  // Reads until the server closes the connection.
  static std::string Hear(const IdleConnection& connection) {
    std::string answer;
    char part[4096];
    ssize_t got = 0;
    while ((got = recv(connection.fd(), part, sizeof(part), 0)) > 0) answer.append(part, static_cast<size_t>(got));
    return answer;
  }
  std::string Say(const std::string& bytes) const {
    const IdleConnection connection(server_->port());
    send(connection.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return Hear(connection);
  }

  void RaiseFileLimit() const {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
};

INSTANTIATE_TEST_SUITE_P(Connections, StrangersTest, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "Encrypted" : "PlainText"; });

TEST_P(StrangersTest, APortScanIsNotNoticed) {
  ServeHere();
  const SteadyLoad load([this] { return CallAnew(); });
  for (int i = 0; i < 300; ++i) {
    const IdleConnection scan(server_->port());
    ASSERT_TRUE(scan.connected());
  }
  load.AwaitMore(4);
  EXPECT_EQ(load.failures(), "");
}

TEST_P(StrangersTest, OtherProtocolsAndNoiseAreClosedAndNothingIsAnswered) {
  ServeHere();
  const SteadyLoad load([this] { return CallAnew(); });
  const std::string client_hello("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 10);
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\nHost: vitower\r\n\r\n"), std::string("\0\1\2\3noise\xff\xfe", 11),
        std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n then nonsense"), client_hello, std::string(100'000, 'x')}) {
    EXPECT_THAT(Say(bytes), testing::Not(HasSubstr("grpc-status"))) << bytes.substr(0, 20);
  }
  load.AwaitMore(4);
  EXPECT_EQ(load.failures(), "");
}

TEST_P(StrangersTest, AThousandIdleConnectionsDisturbNobodyAndAreClosedInTime) {
  RaiseFileLimit();
  ServeHere();
  const SteadyLoad load([this] { return CallAnew(); });
  std::vector<std::unique_ptr<IdleConnection>> idle;
  for (int i = 0; i < 1000; ++i) {
    idle.push_back(std::make_unique<IdleConnection>(server_->port()));
    ASSERT_TRUE(idle.back()->connected()) << i;
  }
  load.AwaitMore(4);
  for (const auto& connection : idle) Hear(*connection);  // the server hangs up, not we
  load.AwaitMore(4);
  EXPECT_EQ(load.failures(), "");
}

TEST_P(StrangersTest, ConnectionsAboveTheLimitAreClosedAtOnceAndTheirPlaceIsFreeAgain) {
  options_.max_connections = 3;
  options_.handshake_timeout = 60s;
  if (GetParam()) {
    ServeTls();
  } else {
    Serve();
  }
  std::vector<std::unique_ptr<IdleConnection>> idle;
  for (int i = 0; i < 3; ++i) idle.push_back(std::make_unique<IdleConnection>(server_->port()));
  AwaitMetric("vitower_connections", 3);
  EXPECT_EQ(Say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "");
  EXPECT_EQ(Metric("vitower_connections_total{outcome=\"refused\"}"), 1);
  idle.clear();
  AwaitStatus(StatusCode::OK, [this] { return CallAnew(); });
}

size_t Threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST_F(SecureTest, CallsOfReflectionThatNeverEndDoNotEatThreads) {
  Serve();
  const std::shared_ptr<grpc::Channel> channel = NewChannel();
  const size_t before = Threads();
  std::vector<std::unique_ptr<RawStream>> calls;
  for (int i = 0; i < 100; ++i) {
    calls.push_back(
        std::make_unique<RawStream>(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"));
    calls.back()->Write(std::string("\x3a\x00", 2));
  }
  EXPECT_EQ(calls.back()->Finish().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_LT(Threads(), before + 30);
  EXPECT_EQ(Call(NewChannel()), StatusCode::OK);
}

TEST_F(SecureTest, AnIdleConnectionIsToldToGoAndItsClientComesBackUnnoticed) {
  options_.max_connection_idle = 1s;
  Serve();
  const auto channel = NewChannel();
  EXPECT_EQ(Call(channel), StatusCode::OK);
  AwaitMetric("vitower_connections", 0);
  EXPECT_EQ(Call(channel), StatusCode::OK);
}

TEST_F(SecureTest, ConnectionsThatGrowOldMoveOnWithoutAFailure) {
  options_.max_connection_age = 1s;
  Serve();
  const auto channel = NewChannel();
  while (Metric("vitower_connections_total{outcome=\"taken\"}") < 3) ASSERT_EQ(Call(channel), StatusCode::OK);
}

TEST(Acceptor, StopsWhenTheLastConnectionIsHandedOver) {
  Metrics metrics;
  const auto acceptor = Acceptor::Listen("127.0.0.1:0", 10, metrics);
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  std::promise<void> taken;
  std::promise<void> go_on;
  (*acceptor)->Start([&](int fd) {
    const OwnedFd closed(fd);
    taken.set_value();
    go_on.get_future().wait();
  });
  const IdleConnection connection((*acceptor)->port());
  taken.get_future().wait();
  auto stopped = std::async(std::launch::async, [&] { (*acceptor)->Stop(); });
  EXPECT_EQ(stopped.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  go_on.set_value();
  stopped.get();
}

TEST_F(SecureTest, AnAddressInAnItemIsNotVisited) {
  Serve();
  std::atomic<bool> visited{false};
  Metrics metrics;
  const auto bait = Acceptor::Listen("127.0.0.1:0", 10, metrics);
  ASSERT_TRUE(bait.ok()) << bait.status();
  (*bait)->Start([&](int fd) {
    visited = true;
    OwnedFd closed(fd);
  });
  const std::string url = "http://127.0.0.1:" + std::to_string((*bait)->port()) + "/cat.jpg";
  v1::EmbedRequest request = RequestOf({ImageItem("image", url), ImageItem("file", "file:///etc/passwd")});
  request.add_items()->mutable_video()->set_data(url);
  request.add_items()->mutable_frames()->add_images(url);
  const Reply reply = Embed(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  for (const v1::Result& result : reply.response.results()) {
    EXPECT_EQ(result.status().code(), static_cast<uint32_t>(StatusCode::INVALID_ARGUMENT)) << result.id();
  }
  EXPECT_FALSE(visited);
}

}  // namespace
}  // namespace vitower
