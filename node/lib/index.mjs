import millpond from './index.cjs'

export const {
  open, NULL, version, PondError,
  OptionError, UrlError, InvalidKey, InvalidValue, LoaderError, TimeoutError, CacheError, StoreError, ClosedError,
  DeadlockError, CanceledError, Interrupted, OutOfMemory, ProtocolError, OverloadError, MisuseError, Absent
} = millpond
export default millpond
