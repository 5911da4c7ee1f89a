// What ThreadSanitizer is told where gRPC runs in the process under test. The packaged gRPC is not instrumented and
// synchronises with absl::Mutex, so its own hand-overs between threads look like races: in the library itself (left out
// by the option), and in the templates of its headers, which are compiled into our binaries. The latter are named one
// by one, mostly by the innermost frame only, so that a race in our code below a gRPC callback is still reported. Which
// frame is innermost depends on what is inlined, hence on how many sources are a batch: the tsan preset says so itself.

#if defined(__SANITIZE_THREAD__)
#define VITOWER_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VITOWER_TSAN
#endif
#endif

#ifdef VITOWER_TSAN
extern "C" {

const char* __tsan_default_options();
const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() {
  return "race_top:/usr/include/grpcpp/\n"
         "race:grpc::internal::InterceptorBatchMethodsImpl\n"
         "race:grpc::internal::CallOpS\n"
         "race:grpc::internal::CallbackWithSuccessTag::Clear\n"
         "race:grpc::internal::CallbackWithSuccessTag::Set\n"
         "race:grpc::internal::CallbackWithSuccessTag::CallbackWithSuccessTag\n"
         "race:grpc::internal::CallbackWithSuccessTag::~CallbackWithSuccessTag\n"
         "race:grpc::internal::ServerCallbackCall::Unref\n"
         "race:ServerCallbackUnaryImpl::Finish\n"
         "race_top:ServerCallbackUnaryImpl::reactor\n"
         "race_top:grpc::internal::CallbackWithSuccessTag::StaticRun\n"
         "race:ServerCallbackUnaryImpl::ServerCallbackUnaryImpl\n"
         "race:ServerCallbackReaderWriterImpl::Finish\n"
         "race:ServerCallbackReaderWriterImpl::ServerCallbackReaderWriterImpl\n"
         "race:ServerCallbackWriterImpl::Finish\n"
         "race:ServerCallbackWriterImpl::ServerCallbackWriterImpl\n"
         "race_top:grpc::internal::CallbackServerStreamingHandler\n"
         "race:grpc::ServerUnaryReactor::InternalBindCall\n"
         "race:grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>::InternalBindWriter\n"
         "race:CallbackCallTag::ContinueRunAfterInterception()::{lambda\n"  // frees a call that is done
         "race:PreBindBacklog\n"
         "race:grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>::InternalBindStream\n"
         "race:grpc::Status::Status\n"  // of a call, built on one thread and filled in on another
         "race_top:std::_Function_base::_M_empty\n"  // of a tag's callback, set on one thread and run on another
         "race_top:std::function<void (bool)>::operator()\n"
         "race:Status::Unref\n"  // absl's: counted in its library, which is not instrumented
         "race_top:__atomic_base<grpc::\n"
         "race_top:__atomic_base<long>::fetch_sub\n"  // how many operations a client's call still has
         // Ours, but ordered by gRPC: it calls OnCancel after the handler that made the call has returned.
         "race:vitower::EmbedReactor::OnCancel\n";
}

}  // extern "C"
#endif
